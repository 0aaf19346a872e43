"""A site with another matrix and all else as it was: what its calls compute then, without rewriting the graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from compressor.graph.program import Program
from compressor.passes.factorizing.sites import Site
from compressor.passes.reading.matrix import from_matrix
from compressor.passes.reading.trials import Call

__all__ = ["swapped"]


def swapped(program: Program, site: Site, matrix: Tensor, bias: Tensor | None = None) -> dict[fx.Node, Call]:
    """What to call at each of a site's nodes, with a matrix (outputs × inputs) and, if given, another bias."""
    kind = site.kind if site.kind in ("conv", "matmul") else "linear"
    weight = from_matrix(matrix[None], program.get(site.weight).detach(), kind)
    return {node: _call(site, node, weight, bias) for node in site.nodes}


def _call(site: Site, node: fx.Node, weight: Tensor, bias: Tensor | None) -> Call:
    _, place, bias_place = site.layer(node).positions

    def call(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        given[place] = weight
        if bias is not None and bias_place is not None:
            given += [None] * (bias_place + 1 - len(given))
            given[bias_place] = bias
        return node.target(*given, **kwargs)  # type: ignore[operator]

    return call
