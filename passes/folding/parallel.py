"""Sums of linear maps of the same input into one.

    x + W x  =  (I + W) x              W₁ x + W₂ x  =  (W₁ + W₂) x              x·s + t + W x  =  (diag(s) + W) x + t

Each side is the input itself, or layers with nothing between them; a batch norm in eval mode counts as a layer with a
group a channel. A training-time block of RepVGG becomes its 3×3 convolution (Ding et al., 2021, arXiv:2101.03697), and
an inverted residual without activations one convolution, its sum included.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.batch_norm import affine_of
from compressor.passes.folding.composing import LinearMap, composed, identity_map, summed
from compressor.passes.folding.layers import Layer
from compressor.passes.folding.rule import Bench
from compressor.passes.folding.runs import Run, costs_more, put, run_map, runs

__all__ = ["Parallel"]

aten = torch.ops.aten


class Parallel:
    """The sum disappears; the one layer goes under the names of the one with the larger kernel."""

    name = "parallel"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            if edit.is_call(node, aten.add.Tensor) and any(_sides(bench, node)):
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        reason: str | None = "its sides have no input in common"
        for one, other in _sides(bench, node):
            reason = _merged(bench, node, one, other)
            if reason is None:
                break
        return reason


def _sides(bench: Bench, node: fx.Node) -> Iterator[tuple[Run, Run]]:
    """Both sides as runs from the same input, a layer at least in one of them; the shortest first."""
    sides = [side for side in node.args[:2] if isinstance(side, fx.Node)]
    if edit.argument(node, "alpha") not in (None, 1) or len(set(sides)) != 2:
        return
    pairs = itertools.product(*(_ends(bench, side) for side in sides))
    fitting = [(a, b) for a, b in pairs if a.source is b.source and (a.layers or b.layers)]
    yield from sorted(fitting, key=lambda pair: len(pair[0].layers) + len(pair[1].layers))


def _ends(bench: Bench, side: fx.Node) -> list[Run]:
    """The runs that a side may be; one that begins with a batch norm has it as `norm`."""
    found = [run for run in runs(bench, side) if not run.layers or len(side.users) == 1]
    for run in tuple(found):
        norm = run.source
        if edit.is_call(norm, aten.batch_norm.default) and len(norm.users) == 1 and bench.kept(norm) is None:
            found.append(Run(norm.args[0], run.layers, norm))  # type: ignore[arg-type]
    return found


def _merged(bench: Bench, node: fx.Node, one: Run, other: Run) -> str | None:
    layers = (*one.layers, *other.layers)
    values = [side.meta["val"] for side in (node, *node.args[:2])]  # type: ignore[union-attr]
    if not all(isinstance(v, Tensor) and shapes.same_shape(v, values[0]) for v in values):
        return "one side is spread over the other"
    if any(value.dtype != values[0].dtype for value in values):
        return "its sides are of different types"
    if len({layer.spatial for layer in layers}) > 1:
        return "its sides are of different kinds"
    sizes = _sum(bench, one, other, real=False)
    reason = sizes if isinstance(sizes, str) else costs_more(bench, sizes, layers, node, one.source)
    made = reason if reason is not None else _sum(bench, one, other, real=True)
    if isinstance(made, str) or made is None:
        return made
    put(bench, made, layers, node, one.source)
    return None


def _sum(bench: Bench, one: Run, other: Run, *, real: bool) -> LinearMap | str:
    like = (one.layers or other.layers)[0]
    maps = [_side(bench, run, like, real=real) for run in (one, other)]
    refused = next((found for found in maps if isinstance(found, str)), None)
    return refused if refused is not None else summed(*maps)  # type: ignore[arg-type]


def _side(bench: Bench, run: Run, like: Layer, *, real: bool) -> LinearMap | str:
    """A side as a map; the input itself and a batch norm have the rank and the channels of the other side's layer."""
    first = None if run.norm is None else affine_of(bench, run.norm)
    if isinstance(first, str):
        return first
    if first is None and run.layers:
        return run_map(bench, run.layers, real=real)
    rank = run.source.meta["val"].dim()
    if first is not None and rank != like.spatial + 2:
        return "the channels of its sides are not those of one layer"
    channels = like.groups * like.tensors(bench)[0].shape[2] if first is None else first.channels
    if channels is None:
        return "its batch norm has no channels"
    start = identity_map(channels, like.spatial, first, real=real)
    rest = run_map(bench, run.layers, real=real) if run.layers else None
    return rest if isinstance(rest, str) else start if rest is None else composed(start, rest)
