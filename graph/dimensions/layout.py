"""Calls that only move elements, by asking them where each element comes from.

The call is run on the coordinates of one labelled axis at a time. Along one axis of the result they are that axis,
permuted, cut or repeated; along several it was split there, and only full grids may stay; several sources along one
axis were merged, and a unit goes when any of its sources goes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.labels import Vector
from compressor.graph.dimensions.walk import Axes, Walk
from compressor.graph.edit import argument

__all__ = [
    "cat", "channel_shuffle", "create", "expand", "getitem", "index", "pad", "rearrange", "reshape_as", "shift",
    "stack", "take", "window",
]  # fmt: skip


def rearrange(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Any call that moves the elements of its first argument."""
    source = node.args[0]
    results: list[dict[int, list[Vector]]] | None = None
    many = isinstance(walk.values[node], (list, tuple))
    outputs = list(walk.values[node]) if many else [walk.values[node]]
    results = [defaultdict(list) for _ in outputs]
    for axis, vector in enumerate(walk.of(source)):
        if vector is None:
            continue
        try:
            moved = _moved(walk, node, axis)
        except (RuntimeError, IndexError):  # its sizes depend on data, and the example's are not known
            walk.freeze(node, vector, "moves by amounts that depend on data")
            continue
        for place, coordinates in enumerate(moved):
            for along, units in _axes_of(walk, node, f"{axis}.{place}", vector, coordinates).items():
                results[place][along].append(units)
    found: list[Axes] = [
        tuple(walk.labels.join(*parts[i]) if i in parts else None for i in range(output.dim()))
        for parts, output in zip(results, outputs, strict=True)
    ]
    return found if many else found[0]


def take(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """A slice or one element; where the bounds are computed, the axis must stay."""
    names = ("start", "end", "length", "index")
    if any(isinstance(argument(node, name), fx.Node) for name in names):
        data = walk.of(node.args[0])
        dim = int(argument(node, "dim") or 0) % max(len(data), 1)
        walk.freeze(node, data[dim] if data else None, "is cut by a length that depends on the input")
    return rearrange(walk, node)


def _axes_of(walk: Walk, node: fx.Node, part: str, vector: Vector, coordinates: Tensor) -> dict[int, Vector]:
    """The units of one source axis along each axis of a result, from the source's coordinate of every element."""
    if not coordinates.numel():
        walk.freeze(node, vector, "is empty for the example")
        return {}
    varying = [axis for axis in range(coordinates.dim()) if _varies(coordinates, axis)]
    for axis in reversed(range(coordinates.dim())):
        if axis not in varying:
            coordinates = coordinates.select(axis, 0)
    table = coordinates.to(torch.int64).numpy()
    if not varying:
        walk.freeze(node, vector[table.reshape(-1)], "takes it on its own")
        return {}
    if len(varying) == 1:
        return {varying[0]: vector[table]}
    sides = walk.split_table(node, part, vector, table)
    return {axis: side for axis, side in zip(varying, sides, strict=True) if side is not None}


def _moved(walk: Walk, node: fx.Node, axis: int) -> list[Tensor]:
    """The result of the call on the coordinates along one axis of its first argument."""
    shape = walk.shape(node.args[0])
    view = [size if i == axis else 1 for i, size in enumerate(shape)]
    coordinates = torch.arange(shape[axis], dtype=torch.float64).reshape(view).expand(shape)
    result = _call(walk, node, coordinates)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _call(walk: Walk, node: fx.Node, data: Tensor) -> Any:
    def concrete(source: fx.Node) -> Any:
        value = walk.values[source]
        if source is node.args[0]:
            return data
        return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), concrete)
    target: Any = torch.ops.aten.reshape.default if op_name(node) in ("view", "_unsafe_view") else node.target
    return target(*args, **kwargs)


def _varies(values: Tensor, axis: int) -> bool:
    if values.shape[axis] <= 1 or values.stride(axis) == 0:
        return False
    return bool((values != values.narrow(axis, 0, 1)).any())


def reshape_as(walk: Walk, node: fx.Node) -> Axes:
    """Reshaped to the sizes of another tensor, which must then agree."""
    found, other = rearrange(walk, node), walk.of(node.args[1])
    return tuple(
        walk.unite(node, mine, theirs, "takes the shape of a value that has no units")  # type: ignore[arg-type]
        for mine, theirs in zip(found, other, strict=True)
    )


def getitem(walk: Walk, node: fx.Node) -> Axes:
    known = walk.axes.get(node.args[0], ())  # type: ignore[arg-type]
    return known[node.args[1]] if isinstance(known, list) else ()  # type: ignore[index]


def cat(walk: Walk, node: fx.Node) -> Axes:
    """Axis `dim` end to end; the others agree."""
    sources = [s for s in node.args[0] if walk.shape(s) != (0,)]  # type: ignore[union-attr]
    rank = len(walk.shape(node))
    dim = int(argument(node, "dim") or 0) % rank
    found: list[Vector | None] = []
    for axis in range(rank):
        parts = [walk.of(source)[axis] for source in sources]
        if axis == dim:
            sizes = [walk.shape(source)[axis] for source in sources]
            whole = [np.zeros(n, np.int64) if p is None else p for p, n in zip(parts, sizes, strict=True)]
            found.append(np.concatenate(whole) if any(p is not None for p in parts) else None)
        else:
            found.append(_agreed(walk, node, parts))
    return tuple(found)


def stack(walk: Walk, node: fx.Node) -> Axes:
    """A new axis; all others agree."""
    parts = [walk.of(source) for source in node.args[0]]  # type: ignore[union-attr]
    found = [_agreed(walk, node, [part[axis] for part in parts]) for axis in range(len(parts[0]))]
    found.insert(int(argument(node, "dim") or 0) % (len(found) + 1), None)
    return tuple(found)


def expand(walk: Walk, node: fx.Node) -> Axes:
    """Repeated axes get units of their own: which repetition it is."""
    found = list(rearrange(walk, node))
    old, new = walk.shape(node.args[0]), walk.shape(node)
    for axis, size in enumerate(argument(node, "size") or ()):
        was = old[axis - len(new) + len(old)] if axis - len(new) + len(old) >= 0 else 1
        if isinstance(size, int) and size > 1 and was == 1:
            found[axis] = walk.fresh(node, axis, size)
    return tuple(found)  # type: ignore[arg-type]


def create(walk: Walk, node: fx.Node) -> Axes:
    """A constant filled with one value can have any size."""
    sizes = argument(node, "size")
    return tuple(
        walk.fresh(node, axis, size) if isinstance(size, int) else None for axis, size in enumerate(sizes or ())
    )


def index(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Elements by index: the axes that are indexed must stay, the others pass."""
    data = walk.of(node.args[0])
    if op_name(node) == "index":
        places = node.args[1]
        for axis, chosen in enumerate(places):  # type: ignore[arg-type]
            if chosen is not None:
                walk.freeze(node, data[axis], "is indexed")
        return rearrange(walk, node)
    dim = int(argument(node, "dim")) % max(len(data), 1)
    walk.freeze(node, data[dim], "is indexed")
    if op_name(node) == "index_select":
        return tuple(None if axis == dim else vector for axis, vector in enumerate(data))
    chosen = walk.of(argument(node, "index"))
    return tuple(
        None if axis == dim else walk.unite(node, data[axis], chosen[axis], "is gathered by an index without units")
        for axis in range(len(data))
    )


def pad(walk: Walk, node: fx.Node) -> Axes:
    """Axes that are not padded pass; padding along units adds ones that stay."""
    data, amounts = walk.of(node.args[0]), argument(node, "pad")
    if argument(node, "mode") not in (None, "constant"):
        _freeze_last(walk, node, data, len(amounts) // 2)
        return rearrange(walk, node)  # type: ignore[return-value]
    found = list(data)
    for i in range(len(amounts) // 2):
        axis, before, after = len(data) - 1 - i, amounts[2 * i], amounts[2 * i + 1]
        vector = data[axis]
        if vector is None or (before == 0 and after == 0):
            continue
        if isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0:
            found[axis] = np.concatenate([np.zeros(before, np.int64), vector, np.zeros(after, np.int64)])
        else:
            walk.freeze(node, vector, "cuts it by padding")
            found[axis] = None
    return tuple(found)


def window(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Calls that name sizes or places of their last axes: a factor of the resolution, a border, a window.

    Those axes must stay, before the call and after it.
    """
    name = op_name(node)
    data = walk.of(node.args[0])
    if name == "unfold":
        walk.freeze(node, data[int(argument(node, "dimension")) % len(data)], "slides over it")
    else:
        _freeze_last(walk, node, data, int(name[-2]) if name.endswith("d") else 2)
    found = rearrange(walk, node)
    if name == "pixel_shuffle":
        _freeze_last(walk, node, found, 2)  # type: ignore[arg-type]
    return found


def shift(walk: Walk, node: fx.Node) -> Axes:
    """Roll and flip: the axes that are turned must stay, since how far depends on their length."""
    data = walk.of(node.args[0])
    turned = argument(node, "dims") or range(len(data))
    found = list(data)
    for axis in turned:
        walk.freeze(node, data[axis % len(data)], "is turned around")
        found[axis % len(data)] = None
    return tuple(found)


def channel_shuffle(walk: Walk, node: fx.Node) -> Axes:
    """(groups, channels) → (channels, groups)."""
    data, groups = walk.of(node.args[0]), int(argument(node, "groups"))
    channels = data[1]
    if channels is None:
        return data
    sides = walk.split(node, "shuffle", channels, (groups, len(channels) // groups))
    walk.freeze(node, sides[0], "is shuffled")
    each = sides[1] if sides[1] is not None else np.zeros(len(channels) // groups, np.int64)
    return (data[0], np.repeat(each, groups), *data[2:])


def _freeze_last(walk: Walk, node: fx.Node, axes: Axes, count: int) -> None:
    for axis in axes[len(axes) - count :]:
        walk.freeze(node, axis, "slides over it")


def _agreed(walk: Walk, node: fx.Node, parts: list[Vector | None]) -> Vector | None:
    agreed = parts[0]
    for part in parts[1:]:
        agreed = walk.unite(node, agreed, part, "joins a value that has no units")
    return agreed
