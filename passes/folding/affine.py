"""Where a per-channel affine map y = x·s + t can go: into the layer before it, or into all layers after it.

Between the map and the layer there may be operators that only move values (reshape, permute, slice, …), as long as
the channels stay one dimension: a per-channel map commutes with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.layers import Affine, Layer, layer_of
from compressor.passes.folding.rule import Bench

__all__ = ["into_consumers", "into_producer", "is_beside_layer", "moved_axis"]

aten = torch.ops.aten
_RESHAPES = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.unflatten.int,
    aten.unsqueeze.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
}  # fmt: skip
_KEEPS_SHAPE = {aten.contiguous.default, aten.clone.default, aten.alias.default, aten.detach.default}
_ALONG_ONE = {aten.slice.Tensor, aten.index_select.default, aten.select.int}  # change one dimension, `dim`
_ALONG_SOME = {aten.roll.default, aten.flip.default}  # `dims`
_PERMUTES = {aten.permute.default, aten.transpose.int, aten.t.default}
_LAYOUT = {*_RESHAPES, *_KEEPS_SHAPE, *_ALONG_ONE, *_ALONG_SOME, *_PERMUTES, aten.expand.default}
_PRODUCTS = {aten.matmul.default, aten.bmm.default}


def into_producer(bench: Bench, node: fx.Node, source: fx.Node, affine: Affine, axis: int | None) -> str | None:
    """Absorb `node` (an affine map of `source` along its dimension `axis`, None for a scalar) into what made it.

    A layer that runs several times (in a siamese network) is rewritten where every run of it ends in the same map.
    `node` is taken out of the graph. Returns why not, with nothing changed.
    """
    layer = layer_of(bench, source)
    runs = [(source, node)] if layer is None else _runs(bench, layer, node)
    reason = _upstream(bench, node, source, affine, axis, tuple(run for run, _ in runs if run is not source))
    if reason is None:
        for run, mapped in runs:
            edit.substitute(bench.program, mapped, run)
    return reason


def _upstream(
    bench: Bench, tail: fx.Node, current: fx.Node, affine: Affine, axis: int | None, twins: tuple[fx.Node, ...] = ()
) -> str | None:
    """Absorb the map into the layer at the start of the chain current → tail; why not, with nothing changed."""
    layer = layer_of(bench, current)
    if edit.sole_user(current) is not tail:
        return f"{layer.name if layer else _describe(current)} is also read elsewhere"
    if layer is not None:
        if axis is not None and axis != layer.axis:
            return f"its channels are not those of {layer.name}"
        return layer.scale_outputs(bench, affine, twins)
    if current.target in _LAYOUT:
        before = current.all_input_nodes[0]
        axes = [a for a in range(before.meta["val"].dim()) if moved_axis(current, a) == axis]
        if axis is not None and len(axes) != 1:
            return f"{current.target} mixes the channels before it"
        return _upstream(bench, current, before, affine, None if axis is None else axes[0])
    if current.target in _PRODUCTS and axis is None and affine.shift is None and len(current.all_input_nodes) == 2:
        reasons = (_upstream(bench, current, operand, affine, None) for operand in current.all_input_nodes)
        return next((None for reason in reasons if reason is None), "no operand of the product before it is a layer's")
    return f"what comes before is no conv or linear with stored weights but {_describe(current)}"


def into_consumers(bench: Bench, node: fx.Node, affine: Affine, axis: int | None) -> str | None:
    """Absorb the affine map that `node` ends in into the layers that read it, all of them or none.

    `node` itself stays, for the caller to rewrite. Returns why not, with nothing changed.
    """
    layers: list[Layer] = []
    for consumer in _consumers(bench, node, axis):
        if isinstance(consumer, str):
            return consumer
        layers.append(consumer)
    for layer in layers:
        if (reason := layer.accepts(bench, affine)) is not None:
            return reason
    if len({str(layer.weight.target) for layer in layers}) != len(layers):
        return "a layer after it runs twice"
    for layer in layers:
        layer.scale_inputs(bench, affine)
    return None if layers else "nothing reads it"


def is_beside_layer(bench: Bench, node: fx.Node, source: fx.Node) -> bool:
    """Whether a conv or linear comes right before or after `node`, but for operators that only move values."""
    while source.target in _LAYOUT or source.target in _PRODUCTS:
        source = source.all_input_nodes[0]
    if layer_of(bench, source) is not None:
        return True
    return any(not isinstance(consumer, str) for consumer in _consumers(bench, node, None))


def moved_axis(node: fx.Node, axis: int) -> int | None:
    """Where a layout operator puts its input's dimension `axis`, unchanged in size and order; None if it does not."""
    before, after = node.all_input_nodes[0].meta["val"], node.meta["val"]
    order = edit.permutation(node)
    if order is not None:
        return order.index(axis)
    if node.target in _KEEPS_SHAPE:
        return axis
    if node.target is aten.expand.default:
        moved = axis + after.dim() - before.dim()
        return moved if shapes.same_sizes(before.shape[axis : axis + 1], after.shape[moved : moved + 1]) else None
    if node.target in _RESHAPES:
        return _through_reshape(before, after, axis)
    if node.target in _ALONG_ONE:
        dim = edit.argument(node, "dim") % before.dim()
        drops = node.target is aten.select.int
        return None if dim == axis else axis - 1 if drops and dim < axis else axis
    if node.target in _ALONG_SOME:
        dims = edit.argument(node, "dims")
        return None if not dims or axis in [d % before.dim() for d in dims] else axis
    return None


def _through_reshape(before: Tensor, after: Tensor, axis: int) -> int | None:
    """A dimension survives a row-major reshape where all sizes up to it, or all from it on, are the same."""
    if after.dim() > axis and shapes.same_sizes(before.shape[: axis + 1], after.shape[: axis + 1]):
        return axis
    rest = before.dim() - axis
    if after.dim() >= rest and shapes.same_sizes(before.shape[axis:], after.shape[after.dim() - rest :]):
        return after.dim() - rest
    return None


def _runs(bench: Bench, layer: Layer, node: fx.Node) -> list[tuple[fx.Node, fx.Node]]:
    """Each run of a layer's weights with the map after it, where all maps are alike; else just the one."""
    one = [(layer.node, node)]
    runs = []
    for run in bench.readers(layer.weight):
        mapped = edit.sole_user(run)
        same = (run.args[1:], run.kwargs) == (layer.node.args[1:], layer.node.kwargs)
        if not same or mapped is None or not _is_alike(mapped, node, run, layer.node):
            return one
        runs.append((run, mapped))
    return runs or one


def _is_alike(one: fx.Node, other: fx.Node, source: fx.Node, other_source: fx.Node) -> bool:
    """Whether two calls do the same to their own sources."""

    def blank(node: fx.Node, of: fx.Node) -> tuple[object, ...]:
        return (node.target, *(None if a is of else a for a in node.args), *node.kwargs.items())

    return blank(one, source) == blank(other, other_source)


def _consumers(bench: Bench, node: fx.Node, axis: int | None) -> Iterator[Layer | str]:
    """Every layer that reads `node`, through layout operators too; a sentence where something else reads it."""
    for user in node.users:
        layer = layer_of(bench, user)
        if layer is not None and layer.source is node and user.all_input_nodes.count(node) == 1:
            fits = axis is None or axis == layer.axis
            yield layer if fits else f"its channels are not those of {layer.name}"
        elif user.target in _LAYOUT:
            moved = None if axis is None else moved_axis(user, axis)
            if axis is not None and moved is None:
                yield f"{user.target} mixes the channels after it"
            else:
                yield from _consumers(bench, user, moved)
        else:
            yield f"what comes after is not only convs and linears but also {_describe(user)}"


def _describe(node: fx.Node) -> str:
    if node.op == "output":
        return "an output of the program"
    return "an input of the program" if node.op == "placeholder" else f"{node.target} ({edit.layer_name(node)})"
