"""A network with thinner layers or fewer of them, without training: made, lowered and compared in ONNX Runtime.

    factorized     half of the parameters of each layer that low rank makes smaller
    depth-folded   half of the activation functions out and what is left merged; where nothing merges to advantage, a
                   quarter of the blocks left out; where no block can go, pairs of neighbours shared

A cell says which pass did it. It holds where that pass changed something, the network runs and lowers, and ONNX Runtime
computes what the smaller one does; how good the answers still are is measured elsewhere, on trained networks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

__all__ = ["depth_folded", "factorized"]

FACTORIZED, DEPTH_FOLDED = ("factorize=0.5:slower=true",), ("linearize=0.5:train=none", "drop=0.25", "share=2")

Row = dict[str, Any]


def factorized(program: Any, context: Any) -> Row:
    """Thinner layers, also where they would run slower: what is asked is whether it can be done."""
    return _first(program, context, FACTORIZED)


def depth_folded(program: Any, context: Any) -> Row:
    """Fewer layers, by the first pass that finds some."""
    return _first(program, context, DEPTH_FOLDED)


def _first(program: Any, context: Any, lists: tuple[str, ...]) -> Row:
    from compressor.graph.cost import Roofline
    from compressor.passes.fold import Fold
    from compressor.passlist import parse_passes

    reasons = []
    for [spec] in map(parse_passes, lists):
        result = spec.build().run(program, context)
        if not result.changed:
            reasons.append(f"{spec.name}: {result.skipped[-1].reason if result.skipped else 'nothing to do'}")
            continue
        smaller = Fold().run(result.program, context).program
        whole = Fold().run(program, context).program
        macs = [Roofline().predict(each, context.target).macs for each in (whole, smaller)]
        sizes = [each.unique_bytes() for each in (whole, smaller)]
        found = {"by": spec.name, "changed": len(result.changed), "macs": macs, "bytes": sizes}
        return found | {"error": _lowered(smaller, context)}
    raise ArithmeticError("; ".join(reasons))


def _lowered(program: Any, context: Any) -> float:
    """The largest relative error of the artifact against the program."""
    from compressor.export.check import check
    from compressor.export.onnx import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(program, context.target).save(path)
        return float(check(program, path, context.calibration).error)
