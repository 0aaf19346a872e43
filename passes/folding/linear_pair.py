"""Linear maps with nothing between them into one, where that costs less.

    W₂ (W₁ x + b₁) + b₂  =  (W₂ W₁) x + (W₂ b₁ + b₂)

Linears and convolutions: 1×1 and then any, any and then one that does not pad its input, with strides, dilations and
groups (a depthwise 3×3 and then a 1×1 is a dense 3×3). What is exact is told by `composing`, what costs less by `runs`.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from compressor.graph import edit
from compressor.passes.folding.layers import layer_of
from compressor.passes.folding.rule import Bench
from compressor.passes.folding.runs import Run, before, merged

__all__ = ["LinearPair"]


class LinearPair:
    """The product goes under the names of the layer with the larger kernel; of two linears, the first one's."""

    name = "linear_pair"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            second = layer_of(bench, node)
            if second is not None and before(bench, second) is not None:
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        second = layer_of(bench, node)
        first = None if second is None else before(bench, second)
        if first is None or second is None:
            return "it is no pair of layers"
        if (reason := first.blocked(bench) or second.blocked(bench)) is not None:
            return reason
        if edit.sole_user(first.node) is not node:
            return f"{first.name} is also read elsewhere"
        return merged(bench, Run(first.source, (first, second)))
