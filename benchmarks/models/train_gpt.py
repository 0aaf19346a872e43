"""Trains the byte-level GPT that the benchmarks compress.

    OMP_NUM_THREADS=2 python benchmarks/models/train_gpt.py [--budget 20min] [--steps 1800] [--seed 0] [--fresh]

Writes gpt.pt, the fp16 state dict of the averaged weights, and gpt.json: its perplexity per byte on all held-out pages,
the loss curve and the settings. A run that was killed, or stopped at its budget, goes on when started again.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that this runs as a script, like its neighbours

from models import build, text
from models.training import FOLDER, Averaged, Run, half, one_cycle, optimizers, seconds, store

RECIPE = {"batch": 16, "rate": 3e-3, "decay": 0.05, "average": 0.995, "warm": 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=seconds, help="stop after so long (90s, 20min); start again to go on")
    parser.add_argument("--fresh", action="store_true", help="train again what is trained already")
    options = parser.parse_args()
    if (FOLDER / "gpt.json").exists() and not options.fresh:
        print("trained already: --fresh trains again")
        return 0
    return 0 if train(options.steps, options.seed, options.budget) else 3


def train(steps: int, seed: int, budget: float | None) -> bool:
    """To the end, or until the budget is spent: then False."""
    torch.manual_seed(seed)
    model = build("gpt").train()
    settings = {"steps": steps, "seed": seed, "text": text.fingerprint("train"), **RECIPE}
    averaged = Averaged(model, RECIPE["average"])
    run = Run("gpt", model, averaged, optimizers(model, RECIPE["rate"], RECIPE["decay"]), settings)
    while run.goes_on(steps, budget):
        ids = text.windows("train", int(RECIPE["batch"]), seed=1_000_000 * (seed + 1) + run.step)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        run.update(loss, one_cycle(run.step / steps, RECIPE["warm"]))
    if run.step < steps:
        return False
    finish(run, steps, seed)
    return True


def finish(run: Run, steps: int, seed: int) -> None:
    """Measures the averaged weights as they are stored, in fp16, on all held-out pages."""
    state = half(run.averaged.state)
    model = build("gpt")
    model.load_state_dict(state)
    nats = loss_on(model)
    record = {
        "perplexity": round(math.exp(nats), 4), "bits_per_byte": round(nats / math.log(2), 4),
        "parameters": sum(p.numel() for p in model.parameters()), "steps": steps,
        "bytes_seen": steps * int(RECIPE["batch"]) * (text.CONTEXT), "seconds": round(run.seconds), "seed": seed,
        "recipe": RECIPE, "text": {
            split: {"pages": len(text.documents(split)), "bytes": len(text.stream(split)),
                    "fingerprint": text.fingerprint(split)} for split in ("train", "test")
        }, "loss": run.curve,
    }  # fmt: skip
    store("gpt", state, record)
    run.path.unlink(missing_ok=True)
    print(f"gpt: perplexity {record['perplexity']} a byte, {record['bits_per_byte']} bits")


def loss_on(model: nn.Module, count: int | None = None) -> float:
    """Mean nats a byte on held-out windows: all, or `count` spread evenly."""
    model.eval()
    total = places = 0.0
    with torch.no_grad():
        for ids in text.batches("test", 32, count):
            total += F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
            places += ids[:, 1:].numel()
    return total / places


if __name__ == "__main__":
    sys.exit(main())
