"""Trains the three Fashion-MNIST classifiers that the benchmarks prune and distil.

    OMP_NUM_THREADS=2 python benchmarks/models/train_vision.py --model resnet [--budget 20min] [--seed 0] [--fresh]

Writes MODEL.pt, the fp16 state dict of the averaged weights, and MODEL.json: its accuracy on the 10,000 test images,
the loss curve and the settings. A run that was killed, or stopped at its budget, goes on when started again; one that
has ended trains the cycles that were added to its recipe since, or with `--fresh` everything anew.

Flips and shifts by two pixels; label smoothing; one cycle of the learning rate. To save time, most of the training is
at lower cost: convolutions see images of 20 pixels, the transformer a third, then half, of its patches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that this runs as a script, like its neighbours

from models import build, fashion, load
from models.training import FOLDER, Averaged, Run, half, one_cycle, optimizers, seconds, store
from models.vit import Vit


@dataclass(frozen=True)
class Recipe:
    """How one classifier is trained."""

    epochs: float
    rate: float  # the peak
    optimizer: str = "sgd"
    batch: int = 128
    decay: float = 5e-4
    smoothing: float = 0.1
    cheap: float = 0.6  # share of the steps at lower cost
    average: float = 0.998
    flip: bool = True
    shift: int = 2  # pixels


RECIPES = {  # a cycle of the learning rate each; a later one goes on from what the former ones left
    "resnet": (
        Recipe(epochs=9, rate=0.2),
        Recipe(epochs=4, rate=3e-3, optimizer="muon", decay=0.05, cheap=0.0),
        Recipe(epochs=3, rate=1.5e-3, optimizer="muon", decay=0.05, cheap=0.0, flip=False, shift=1),
    ),
    "mobilenetv2": (
        Recipe(epochs=6, rate=4e-3, optimizer="muon", decay=0.05, flip=False, shift=1),
        Recipe(epochs=3, rate=1.5e-3, optimizer="muon", decay=0.05, cheap=0.0, flip=False, shift=1),
    ),
    "vit": (Recipe(epochs=5, rate=3e-3, optimizer="muon", decay=0.05, cheap=0.8),),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(RECIPES), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=seconds, help="stop after so long (90s, 20min); start again to go on")
    parser.add_argument("--fresh", action="store_true", help="train again what is trained already")
    options = parser.parse_args()
    started = time.perf_counter()
    file = FOLDER / f"{options.model}.json"
    before = json.loads(file.read_text()) if file.exists() and not options.fresh else None
    done = before["cycles"] if before else []
    cycles = RECIPES[options.model]
    same = [{**cycle, "accuracy": 0} for cycle in done] == [{**asdict(c), "accuracy": 0} for c in cycles[: len(done)]]
    if before and not (same and before["seed"] == options.seed):
        raise SystemExit(f"{file.name} records other cycles or another seed: --fresh trains from nothing")
    for recipe in cycles[len(done) :]:
        left = None if options.budget is None else options.budget - (time.perf_counter() - started)
        if not train(options.model, recipe, options.seed, left, before):
            return 3
        before = json.loads(file.read_text())
    print(f"{options.model}: {100 * before['accuracy']:.2f}% of the test images, {before['parameters']} parameters")
    return 0


def train(name: str, recipe: Recipe, seed: int, budget: float | None, before: dict[str, Any] | None) -> bool:
    """To the end, or until the budget is spent: then False. With the record of what came before, goes on from there."""
    torch.manual_seed(seed)
    model = (load(name) if before else build(name)).train()
    first = round(before["epochs"]) if before else 0
    if name != "vit":
        model = model.to(memory_format=torch.channels_last)
    images, labels = fashion.tensors("train")
    an_epoch = len(labels) // recipe.batch
    steps = round(recipe.epochs * an_epoch)
    settings = {"seed": seed, **asdict(recipe)}
    run = Run(name, model, Averaged(model, recipe.average), optimizers_of(model, recipe), settings)
    while run.goes_on(steps, budget):
        epoch, index = divmod(run.step, an_epoch)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1000 * seed + first + epoch))
        rows = order[index * recipe.batch : (index + 1) * recipe.batch]
        generator = torch.Generator().manual_seed(1_000_000 * (seed + 1) + first * an_epoch + run.step)
        x = fashion.augmented(images[rows], generator, recipe.flip, recipe.shift)
        outputs = forward(model, x, run.step / steps, recipe, generator)
        loss = F.cross_entropy(outputs, labels[rows], label_smoothing=recipe.smoothing)
        run.update(loss, one_cycle(run.step / steps))
    if run.step < steps:
        return False
    finish(name, run, recipe, seed, before)
    return True


def forward(model: nn.Module, x: Tensor, done: float, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The model's outputs, at lower cost in the first part of the training."""
    if done >= recipe.cheap:
        return model(x)
    if isinstance(model, Vit):
        patches = model.positions.shape[1]
        kept = patches // 3 if done < recipe.cheap / 2 else patches // 2
        return model(x, torch.rand(len(x), patches, generator=generator).argsort(1)[:, :kept])
    return model(F.interpolate(x, size=20, mode="bilinear", antialias=True))


def optimizers_of(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon and AdamW, or SGD without decay on norms and biases."""
    if recipe.optimizer == "muon":
        return optimizers(model, recipe.rate, recipe.decay)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return [torch.optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True)]


def finish(name: str, run: Run, recipe: Recipe, seed: int, before: dict[str, Any] | None) -> None:
    """Measures the averaged weights as they are stored, in fp16, on all test images."""
    state = half(run.averaged.state)
    model = build(name)
    model.load_state_dict(state)
    before = before or {"epochs": 0, "steps": 0, "seconds": 0, "cycles": [], "loss": []}
    reached = accuracy(model)
    record = {
        "accuracy": reached, "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": before["epochs"] + recipe.epochs, "steps": before["steps"] + run.step,
        "seconds": before["seconds"] + round(run.seconds), "seed": seed,
        "cycles": [*before["cycles"], {**asdict(recipe), "accuracy": reached}],
        "loss": [*before["loss"], *([before["steps"] + step, loss] for step, loss in run.curve)],
    }  # fmt: skip
    store(name, state, record)
    run.path.unlink(missing_ok=True)


def accuracy(model: nn.Module, count: int | None = None) -> float:
    """Share of the first `count` test images that the model gets right."""
    model.eval()
    with torch.no_grad():
        hits = [(model(x).argmax(1) == y).float() for x, y in fashion.batches("test", count=count)]
    return round(torch.cat(hits).mean().item(), 4)


if __name__ == "__main__":
    sys.exit(main())
