"""Depth folded: activations that matter least taken out, and the layers around them merged; accuracy against time.

    python benchmarks/linearized.py [--only mobilenetv2 vit resnet] [--amounts 0.4] [--ways trained fitted]

*trained*: chosen by what is measured, faded out over 600 steps with the dense network as teacher, on 30,000 images
without labels. *fitted*: without training, the layers behind them fitted in closed form on 256 images. Both are folded
as `fold` does it, lowered, and timed in ONNX Runtime at batch 1 with one thread, in turn with the dense network folded.
Finished cells are kept in `results/linearized.json`.

Goal, for one of the convolutional networks: faster beyond the interval, at most half a point of accuracy lost. Where
nothing merges to advantage (3×3 convolutions behind one another) the cell says so.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

from cells import Cell, Cells, arguments
from subjects import SUBJECTS
from timing import timed

from compressor.devices.latency.lookup import latency_model
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.fold import Fold
from compressor.passes.linearize import Linearize
from compressor.targets.loader import load_target

NAMES, WAYS = ("mobilenetv2", "vit", "resnet"), ("trained", "fitted")
CONVOLUTIONAL = ("mobilenetv2", "resnet")
GOAL = 0.005
BUDGET, IMAGES, TESTS = "600steps", 30000, 10000


def main() -> int:
    parser = arguments(__doc__, NAMES, "1h")
    parser.add_argument("--amounts", nargs="+", type=float, default=[0.4])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    cells = Cells("linearized", options.budget)
    for name, way, amount in itertools.product(options.only, options.ways, options.amounts):
        cells.measure(f"{name} {way} {amount}", functools.partial(_cell, name, way, amount))
    met = _report(cells)
    print(cells.took())
    return 0 if met else 1


def _cell(name: str, way: str, amount: float) -> Cell:
    subject, target = SUBJECTS[name](TESTS), load_target("host")
    context = Context(
        target, latency=latency_model(target), calibration=subject.batches(256, 0), synthetic=False,
        training=subject.batches(IMAGES, 1) if way == "trained" else (),
    )  # fmt: skip
    request = Linearize(amount=amount, by="greedy", train=BUDGET if way == "trained" else "none")
    result = request.run(subject.program, context)
    dense, merged = (Fold().run(program, context).program for program in (subject.program, result.program))
    figures: Cell = {"activations": len(result.changed), "dense": subject.metric(subject.program)}
    if not result.changed:
        return {**figures, "stays": result.skipped[-1].reason}
    predicted = [Roofline().predict(program, target) for program in (dense, merged)]
    return {
        **figures,
        "accuracy": subject.metric(merged),
        "kernels": [len(estimate.kernels) for estimate in predicted],
        "macs": predicted[1].macs / predicted[0].macs,
        "bytes": merged.unique_bytes() / dense.unique_bytes(),
        **timed(subject.program, merged, context, context.calibration[0]),
    }


def _report(cells: Mapping[str, Cell]) -> bool:
    """Each network's loss and speed-up; whether a convolutional one meets the goal."""
    met = False
    for key, cell in cells.items():
        if "stays" in cell:
            print(f"{key}: nothing goes: {cell['stays']}")
            continue
        lost = cell["dense"] - cell["accuracy"]
        met |= key.split()[0] in CONVOLUTIONAL and lost <= GOAL and cell["speedup_low"] > 1
        print(
            f"{key}: {cell['activations']} activations gone, {100 * lost:.2f} points lost (goal 0.5), "
            f"{cell['speedup']:.2f}× ({cell['speedup_low']:.2f} to {cell['speedup_high']:.2f})"
        )
    return met


if __name__ == "__main__":
    raise SystemExit(main())
