"""The constant arguments of calls after a cut: sizes, bounds, numbers of groups, the scale of an attention."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.removal import Removal
from compressor.graph.dimensions.walk import Axes, Walk
from compressor.graph.edit import add_tensor, argument, insert, set_argument, substitute
from compressor.graph.program import Program

__all__ = ["Refit"]

aten = torch.ops.aten


@dataclass(frozen=True)
class Refit:
    """Rewrites the calls of a copied program to what is left. `old` maps its nodes back to the analysed ones."""

    removal: Removal
    program: Program
    old: dict[fx.Node, fx.Node]

    def node(self, node: fx.Node) -> None:
        """Bring one call up to date."""
        name = op_name(node)
        if name in _BY_NAME:
            _BY_NAME[name](self, node)

    def axes(self, node: object) -> Axes:
        """The labelled axes of a tensor of the copy."""
        return self.walk.of(self.old[node]) if isinstance(node, fx.Node) else ()

    @property
    def walk(self) -> Walk:
        return self.removal.dimensions.walk


def _sizes(
    name: str, first: Callable[[Refit, fx.Node], int] = lambda refit, node: 0
) -> Callable[[Refit, fx.Node], None]:
    """The sizes in an argument become what is left."""

    def fit(refit: Refit, node: fx.Node) -> None:
        given = argument(node, name)
        if given is None or not isinstance(given, (list, tuple)):
            return
        start, after = first(refit, node), refit.removal.shape(refit.old[node])
        before = refit.walk.shape(refit.old[node])
        pairs = list(zip(given, before[start:], after[start:], strict=False))
        new = [_size(refit, node, size, was, now) if was != now else size for size, was, now in pairs]
        if new != list(given):
            set_argument(node, name, new)

    return fit


def _size(refit: Refit, node: fx.Node, size: Any, was: int, now: int) -> object:
    """A given size when `now` of `was` units stay: −1 stays, a computed one (batch × heads) is scaled in proportion."""
    if isinstance(size, int):
        return now if size >= 0 else size
    common = math.gcd(was, now)
    with refit.program.graph.inserting_before(node):
        each = refit.program.graph.call_function(operator.floordiv, (size, was // common))
        return refit.program.graph.call_function(operator.mul, (each, now // common))


def _unflattened(refit: Refit, node: fx.Node) -> int:
    return int(argument(node, "dim")) % len(refit.axes(node.args[0]))


def _trailing(refit: Refit, node: fx.Node) -> int:
    return len(refit.axes(node)) - len(argument(node, "normalized_shape"))


def _groups(name: str) -> Callable[[Refit, fx.Node], None]:
    def fit(refit: Refit, node: fx.Node) -> None:
        inner = refit.walk.inner.get(refit.old[node])
        if inner is not None and inner[0] is not None:
            set_argument(node, name, refit.removal.length(inner[0], 0))

    return fit


def _scale(refit: Refit, node: fx.Node) -> None:
    """The scale of an attention is that of its full inner width."""
    if argument(node, "scale") is None and refit.removal.changes(refit.axes(node.args[0])[-1]):
        width = refit.walk.shape(refit.old[node.args[0]])[-1]  # type: ignore[index]
        node.kwargs = {**node.kwargs, "scale": 1.0 / math.sqrt(width)}


def _slice(refit: Refit, node: fx.Node) -> None:
    dim = int(argument(node, "dim") or 0)
    vector = refit.axes(node.args[0])[dim]
    if vector is None or not refit.removal.changes(vector):
        return
    if op_name(node) == "narrow":
        start, length = int(argument(node, "start")), int(argument(node, "length"))
        bounds = slice(start, start + length if start >= 0 else start + length or None)
    else:
        bounds = slice(argument(node, "start"), argument(node, "end"), argument(node, "step"))
    kept = refit.removal.kept(vector)
    taken = np.arange(len(vector))[bounds]
    places = np.flatnonzero(np.isin(kept, taken))
    if (bounds.step or 1) == 1:
        new = (node.args[0], dim, int(places[0]), int(places[-1]) + 1)
        node.target, node.args, node.kwargs = aten.slice.Tensor, new, {}
        return
    index = add_tensor(refit.program, f"{node.name}.rows", torch.from_numpy(places), node, buffer=True)
    chosen = insert(refit.program, aten.index_select.default, (node.args[0], dim, index), like=node)
    refit.old[chosen] = refit.old[node]
    substitute(refit.program, node, chosen)


def _select(refit: Refit, node: fx.Node) -> None:
    dim = int(argument(node, "dim"))
    vector = refit.axes(node.args[0])[dim]
    if vector is not None and refit.removal.changes(vector):
        index = int(argument(node, "index")) % len(vector)
        set_argument(node, "index", int(np.searchsorted(refit.removal.kept(vector), index)))


def _split(refit: Refit, node: fx.Node) -> None:
    dim = int(argument(node, "dim") or 0)
    parts, values = refit.walk.axes[refit.old[node]], refit.walk.values[refit.old[node]]
    if not refit.removal.changes(refit.axes(node.args[0])[dim]) or not isinstance(parts, list):
        return
    sizes = [refit.removal.length(part[dim], value.shape[dim]) for part, value in zip(parts, values, strict=True)]
    node.target, node.args, node.kwargs = aten.split_with_sizes.default, (node.args[0], sizes, dim), {}


def _squeeze(refit: Refit, node: fx.Node) -> None:
    """Without a list it drops every axis of length 1, also those that are so only now: name those of before."""
    if node.target is not aten.squeeze.default:
        return
    shape = refit.old[node.args[0]].meta["val"].shape  # type: ignore[index]
    if any(refit.removal.changes(vector) for vector in refit.axes(node.args[0])):
        dropped = [axis for axis, size in enumerate(shape) if isinstance(size, int) and size == 1]
        node.target, node.args = aten.squeeze.dims, (node.args[0], dropped)


def _repeated(refit: Refit, node: fx.Node) -> None:
    """The length after repeating is a hint that may be left out."""
    if argument(node, "output_size") is not None:
        set_argument(node, "output_size", None)


_BY_NAME: dict[str, Callable[[Refit, fx.Node], None]] = {
    "view": _sizes("size"), "_unsafe_view": _sizes("size"), "reshape": _sizes("shape"), "expand": _sizes("size"),
    "unflatten": _sizes("sizes", _unflattened), "zeros": _sizes("size"),
    "ones": _sizes("size"), "full": _sizes("size"), "empty": _sizes("size"), "new_zeros": _sizes("size"),
    "new_ones": _sizes("size"), "new_full": _sizes("size"), "new_empty": _sizes("size"),
    "layer_norm": _sizes("normalized_shape", _trailing), "rms_norm": _sizes("normalized_shape", _trailing),
    "conv1d": _groups("groups"), "conv2d": _groups("groups"), "conv3d": _groups("groups"),
    "conv_transpose1d": _groups("groups"), "conv_transpose2d": _groups("groups"),
    "conv_transpose3d": _groups("groups"), "convolution": _groups("groups"), "group_norm": _groups("num_groups"),
    "scaled_dot_product_attention": _scale, "slice": _slice, "narrow": _slice, "select": _select,
    "split": _split, "split_with_sizes": _split, "chunk": _split, "tensor_split": _split,
    "repeat_interleave": _repeated, "squeeze": _squeeze,
}  # fmt: skip
