"""Three or more linear maps with nothing between them into one, where that costs less and no two of them alone would.

    W₃ (W₂ (W₁ x + b₁) + b₂) + b₃  =  (W₃ W₂ W₁) x + (W₃ W₂ b₁ + W₃ b₂ + b₃)

An inverted residual without activations is 1×1, depthwise, 1×1: any two would make a dense layer between wide tensors,
all three make a small 3×3 convolution (Fu et al., 2022, DepthShrinker, arXiv:2206.00843).
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from compressor.passes.folding.layers import layer_of
from compressor.passes.folding.rule import Bench
from compressor.passes.folding.runs import before, merged, runs

__all__ = ["LinearRun"]


class LinearRun:
    """The shortest run that is better as one layer, under the names of the one with the largest kernel."""

    name = "linear_run"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            layer = layer_of(bench, node)
            second = None if layer is None else before(bench, layer)
            if second is not None and before(bench, second) is not None and len(runs(bench, node)) > 3:
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        reason: str | None = "it is no run of layers"
        for run in runs(bench, node)[3:]:
            reason = merged(bench, run)
            if reason is None:
                break
        return reason
