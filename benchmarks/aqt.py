"""The works-when check of AQT's "mostly 4-bit": a convolutional net at three widths, its body in 4 or in 8 bits.

    python benchmarks/aqt.py [--seeds 3] [--epochs 4] [--steps 600] [--budget 4h]

A MobileNet for Fashion-MNIST (depthwise, pointwise) at widths 64, 96 and 128, trained in float; then int8 and *int4*
(pointwise convolutions in blocks of 32 with int8 activations; stem, depthwise convolutions and head int8), each rounded
and trained for as many steps with the float network as teacher. The ends at 4 bits, which AQT tried, have no product
in ONNX Runtime and are not measured. Cost is bytes × Σ MACs · bits of weight · bits of activation. Finished cells are
kept in `results/aqt.json`; a seed takes an hour on one quiet core.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping

import torch
from cells import Cells, arguments
from claims.claim import Claim, Figures, Goal
from models import fashion
from torch import Tensor, nn
from torch.nn import functional
from works_when import report

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context, Setting
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.targets.loader import load_target

__all__ = ["Net", "claims", "cost"]

WIDTHS = (64, 96, 128)
BATCH, RATE, DEPTH = 64, 3e-3, 4
NO_SETTINGS: Mapping[str, Setting] = {}


class Net(nn.Module):
    """Logits of [N, 1, 28, 28] images: a stem to 14 pixels, then pairs of depthwise and pointwise convolutions."""

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(*(_pair(width, 2 if index == 1 else 1) for index in range(DEPTH)))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def _pair(width: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
    )  # fmt: skip


def main() -> int:
    parser = arguments(__doc__ or "", ["aqt"], "4h")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    claim, cells = claims(options.epochs, options.steps), Cells("aqt", options.budget)
    for seed, (arm, run) in itertools.product(range(options.seeds), claim.arms.items()):
        cells.measure(f"{claim.name} {arm} seed {seed}", functools.partial(run, seed))
    held = report(claim, cells, options.seeds)
    print(cells.took())
    return 0 if held else 1


def claims(epochs: float, steps: int) -> Claim:
    """The check with float networks of so many epochs."""
    arms: dict[str, Callable[[int], Figures]] = {
        f"width{width}": functools.partial(measured, width, epochs, steps) for width in WIDTHS
    }
    small, middle, large = arms
    return Claim(
        f"aqt-{epochs:g}-{steps}", f"Fashion-MNIST MobileNet of widths {WIDTHS}, {steps} steps of training in few bits",
        arms,
        [
            *(Goal(f"int4 within half a point of int8, {arm}", f"{arm}.int4", f"{arm}.int8", "points", -0.005)
              for arm in arms),
            *(Goal(f"int4 costs less than half of int8, {arm}", f"{arm}.int4_cost", f"{arm}.int8_cost", "ratio", 0.5)
              for arm in arms),
            Goal("wider int4 against narrower int8", f"{large}.int4", f"{middle}.int8", "points", 0.0),
            Goal("wider int4 against narrower int8, the smallest", f"{middle}.int4", f"{small}.int8", "points", 0.0),
            Goal("int4 trained against rounded", f"{small}.int4", f"{small}.int4_rounded", "points", 0.001),
        ],
    )  # fmt: skip


def measured(width: int, epochs: float, steps: int, seed: int) -> Figures:
    """Accuracy and cost of one width in float, 8 and 4 bits."""
    model = trained(width, epochs, seed)
    images, _ = fashion.tensors("train")
    program = capture(model.eval(), (images[:2],)).program
    key, figures = program.inputs[0].name, {}
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: BATCH * steps * 6 // 5]
    batches: list[Batch] = [{key: images[part]} for part in order.split(BATCH)]
    context = Context(
        load_target("x86-64"), calibration=batches[:2], training=batches, teacher=program, synthetic=False, seed=seed
    )
    folded = Fold().run(program, context).program
    figures["float"], figures["float_cost"] = accuracy(program, key), cost(folded)
    settings: dict[str, Setting] = {}
    plans = {
        "int8": Quantize("int8", slower=True, max_error=1.0),
        "int4": Quantize("int4", block=32, slower=True, max_error=1.0),
    }
    for name, plan in plans.items():
        ends = {"head": settings["head"]} if settings else {}
        settings = {**plan.run(folded, context).settings, **ends}
        rounded = Quantize(sites=settings).run(folded, context)
        taught = Quantize(sites={**settings, "program": {"train": f"{steps}steps"}}).run(folded, context)
        figures[f"{name}_rounded"] = accuracy(rounded.program, key)
        figures[name] = accuracy(taught.program, key)
        figures[f"{name}_cost"] = cost(folded, settings, rounded.program.unique_bytes())
    return figures


def trained(width: int, epochs: float, seed: int) -> Net:
    """Trained on labels, with AdamW and one cycle."""
    torch.manual_seed(seed)
    images, labels = fashion.tensors("train")
    model = Net(width).train()
    total = max(1, int(epochs * len(images) / BATCH))
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(total):
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        loss = functional.cross_entropy(model(fashion.augmented(images[rows], generator)), labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return model


def accuracy(program: Program, key: str) -> float:
    """On the 10,000 test images."""
    right = 0
    for images, labels in fashion.batches("test"):
        [scores] = program.run({key: images}).values()
        right += int((scores.argmax(1) == labels).sum())
    return right / len(fashion.tensors("test")[1])


def cost(program: Program, settings: Mapping[str, Setting] = NO_SETTINGS, size: int | None = None) -> float:
    """Megabytes × mega-MACs, each counted with the bits of its two operands over 32 · 32."""
    work = 0.0
    for node in program.nodes():
        name = next((str(source.target) for source in node.all_input_nodes if source.op == "get_attr"), "")
        weight = program.tensors().get(name)
        if weight is not None and weight.dim() > 1:
            places = node.meta["val"][0].numel() // len(weight)
            setting = settings.get(name.removesuffix(".weight"), {})
            bits = {"int8": 8, "int4": 4}.get(str(setting.get("format")), 32)
            work += weight.numel() * places * bits * (8 if "activation" in setting else 32) / 1024
    return work / 1e6 * (program.unique_bytes() if size is None else size) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
