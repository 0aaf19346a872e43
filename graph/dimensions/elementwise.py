"""Calls that keep axes where they are: pointwise arithmetic, reductions, softmax, pooling, norms, embeddings.

pointwise      operands agree axis by axis, as they broadcast
reduction      the reduced axes vanish; over units it then runs over those that are left
norm           parameters agree with the axis they scale
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.walk import SLIDES, Axes, Walk
from compressor.graph.edit import argument

__all__ = [
    "batch_norm", "embedding", "glu", "group_norm", "layer_norm",
    "per_channel", "pointwise", "prelu", "reduce", "softmax", "weight_norm",
]  # fmt: skip

MEETS = "meets a value that has no units"
ORDERED = frozenset(["argmax", "argmin", "cumsum", "cumprod", "prod", "median", "mode", "nanmedian"])


def pointwise(walk: Walk, node: fx.Node) -> Axes:
    sources = [source for source in _flat(node) if walk.shape(source)]
    out = walk.broadcast(node, [walk.of(s) for s in sources], [walk.shape(s) for s in sources], MEETS)
    return out[len(out) - len(walk.shape(node)) :]


def reduce(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Sums, means, extremes and norms; those that depend on an order freeze what they run over."""
    data = walk.of(node.args[0])
    kept_rank = op_name(node).startswith("cum")
    which = argument(node, "dim")
    dims = set(range(len(data))) if which is None else {d % max(len(data), 1) for d in _numbers(which)}
    for axis in dims:
        if data and data[axis] is not None:
            walk.reduced.add(node)
            if op_name(node) in ORDERED or kept_rank:
                walk.freeze(node, data[axis], "depends on the order along it")
    keep = bool(argument(node, "keepdim"))
    out: Axes = tuple(None if i in dims else axis for i, axis in enumerate(data) if keep or kept_rank or i not in dims)
    value = walk.values[node]
    return [out] * len(value) if isinstance(value, (list, tuple)) else out


def softmax(walk: Walk, node: fx.Node) -> Axes:
    data = walk.of(node.args[0])
    axis = int(argument(node, "dim")) % len(data)
    walk.freeze(node, data[axis], "its values share a sum of one")
    return data


def per_channel(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Pooling and resizing: batch and channels stay, what they slide over must."""
    data, rank = walk.of(node.args[0]), len(walk.shape(node.args[0]))
    digits = [int(c) for c in op_name(node) if c.isdigit()]
    spatial = digits[0] if digits else rank - 2
    for axis in data[rank - spatial :]:
        walk.freeze(node, axis, SLIDES)
    out = (*data[: rank - spatial], *(None,) * spatial)
    value = walk.values[node]
    return [out] * len(value) if isinstance(value, (list, tuple)) else out


def batch_norm(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Batch and instance norm: one statistic a channel. Units elsewhere (in a standardized weight) are reduced over."""
    data = walk.of(node.args[0])
    for stored in node.args[1:5]:
        if axes := walk.of(stored):
            walk.unite(node, data[1], axes[0], MEETS)
    if any(axis is not None for i, axis in enumerate(data) if i != 1):
        walk.reduced.add(node)
    value = walk.values[node]
    return [data, (None,), (None,)][: len(value)] if isinstance(value, (list, tuple)) else data


def layer_norm(walk: Walk, node: fx.Node) -> Axes:
    """Layer and root-mean-square norm over the last axes."""
    data = walk.of(node.args[0])
    rank = len(_numbers(argument(node, "normalized_shape")))
    for name in ("weight", "bias"):
        for mine, stored in zip(data[-rank:], walk.of(argument(node, name)), strict=False):
            walk.unite(node, mine, stored, MEETS)
    if any(axis is not None for axis in data[-rank:]):
        walk.reduced.add(node)
    return data


def group_norm(walk: Walk, node: fx.Node) -> Axes:
    """Channels are a grid of groups × channels in a group."""
    data, shape = walk.of(node.args[0]), walk.shape(node.args[0])
    for name in ("weight", "bias"):
        if axes := walk.of(argument(node, name)):
            walk.unite(node, data[1], axes[0], MEETS)
    groups = int(argument(node, "num_groups"))
    walk.inner[node] = walk.split(node, "groups", data[1], (groups, shape[1] // groups))
    if data[1] is not None:
        walk.reduced.add(node)
    return data


def embedding(walk: Walk, node: fx.Node) -> Axes:
    table, indices = walk.of(node.args[0]), walk.of(node.args[1])
    walk.freeze(node, table[0], "its rows are chosen by the input")
    return (*indices, table[1])


def glu(walk: Walk, node: fx.Node) -> Axes:
    """The first half of an axis times the sigmoid of the second."""
    data = walk.of(node.args[0])
    axis = int(argument(node, "dim")) % len(data)
    whole, found = data[axis], list(data)
    if whole is not None:
        half = len(whole) // 2
        found[axis] = walk.unite(node, whole[:half], whole[half:], MEETS)
    return tuple(found)


def prelu(walk: Walk, node: fx.Node) -> Axes:
    """One slope for all, or one a channel."""
    data, slope = walk.of(node.args[0]), walk.of(node.args[1])
    if walk.shape(node.args[1]) not in ((), (1,)):
        walk.unite(node, data[min(1, len(data) - 1)], slope[0], MEETS)
    return data


def weight_norm(walk: Walk, node: fx.Node) -> Axes:
    """w = g · v / ‖v‖, the norm over all axes but one."""
    direction, length = walk.of(node.args[0]), walk.of(node.args[1])
    dim = int(argument(node, "dim") or 0) % len(direction)
    walk.unite(node, direction[dim], length[dim], MEETS)
    walk.reduced.add(node)
    return direction


def _flat(node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), lambda source: found.append(source))
    return found


def _numbers(argument: object) -> Sequence[int]:
    return argument if isinstance(argument, (list, tuple)) else [argument]  # type: ignore[list-item]
