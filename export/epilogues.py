"""What follows a product of our own, and what turns the inputs of attention, taken into it: y = act(x ⊛ w + b + r).

    add(conv(x), r)                         →   conv(x, residual=r)       where nothing else reads the sum
    relu, relu6, hardtanh, clamp of conv(x)    →   conv(x, low=…, high=…)
    quantize(conv(x), s, z)                 →   conv(x, codes=(s, z, …))
    attention(permute(q), permute(k), …)    →   attention(q, k, …, first=…)    heads before lengths, as caches have them

A result is then written once, finished. `r` must be as large as the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from compressor.export import code_ops, float_ops  # noqa: F401  register the custom ops
from compressor.export.float_layers import HEADS_BESIDE
from compressor.graph.edit import (
    argument,
    begin,
    finish,
    insert,
    is_call,
    permutation,
    set_argument,
    sole_user,
    substitute,
    tensor_of,
)
from compressor.graph.program import Program
from compressor.graph.shapes import same_shape

__all__ = ["with_epilogues"]

aten, ops = torch.ops.aten, torch.ops.compressor
_TAKING = (ops.conv_last.default, ops.dense.default, ops.conv_codes.default, ops.linear_codes.default)
_BOUNDS = ("low", "high")
_CLAMPS: Mapping[Callable[..., Any], tuple[str, str]] = {
    aten.hardtanh.default: ("min_val", "max_val"), aten.clamp.default: ("min", "max")
}  # fmt: skip


def with_epilogues(program: Program) -> Program:
    """The program with fewer operators; itself where nothing follows a product alone."""
    copy = begin(program)
    changed = False
    for node in list(copy.nodes()):
        changed = (is_call(node, ops.attention.default) and _unturned(node)) or changed
        while is_call(node, *_TAKING) and (taken := _taken(copy, node)) is not None:
            node, changed = taken, True
    return finish(copy) if changed else program


def _unturned(node: fx.Node) -> bool:
    """Inputs as they are, where they were only turned; whether there was one."""
    first = list(argument(node, "first"))
    for place, each in enumerate(node.args[:3]):
        if permutation(each) == HEADS_BESIDE and not first[place]:  # type: ignore[arg-type]
            first[place] = True
            node.update_arg(place, each.args[0])  # type: ignore[union-attr]
    changed = first != list(argument(node, "first"))
    set_argument(node, "first", first)
    return changed


def _taken(program: Program, node: fx.Node) -> fx.Node | None:
    """The product with its one reader in it, in the reader's place."""
    user = sole_user(node)
    done = argument(node, "codes") is not None
    changes = None if user is None or done else _change(program, node, user)
    if user is None or changes is None:
        return None
    made = insert(program, node.target, node.args, like=node, before=user, kwargs=dict(node.kwargs))  # type: ignore[arg-type]
    for name, value in changes.items():
        set_argument(made, name, value)
    substitute(program, user, made)
    program.graph.erase_node(node)
    return made


def _change(program: Program, node: fx.Node, user: fx.Node) -> dict[str, Any] | None:
    """The arguments that make the product do what its reader does."""
    return _as_residual(node, user) or _as_bounds(node, user) or _as_codes(program, user)


def _as_codes(program: Program, user: fx.Node) -> dict[str, Any] | None:
    """Rounded by one scale."""
    if not is_call(user, ops.quantize.default):
        return None
    _, *given, least, most, _, dtype = user.args
    scale, zero = (tensor_of(program, each) for each in given)
    if scale is None or zero is None or scale.numel() != 1 or zero.numel() != 1:
        return None
    if dtype not in (torch.int8, torch.uint8):
        return None
    return {"codes": [float(scale), float(zero), float(least), float(most), float(dtype == torch.uint8)]}  # type: ignore[arg-type]


def _as_residual(node: fx.Node, user: fx.Node) -> dict[str, Any] | None:
    if not is_call(user, aten.add.Tensor, aten.add_.Tensor) or argument(user, "alpha") != 1:
        return None
    if any(argument(node, name) is not None for name in ("residual", *_BOUNDS)):
        return None
    others = [each for each in user.args[:2] if each is not node]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    other, value = others[0].meta["val"], user.meta["val"]
    fits = isinstance(other, Tensor) and other.dtype == value.dtype == torch.float32 and same_shape(other, value)
    return {"residual": others[0]} if fits and same_shape(node.meta["val"], value) else None


def _as_bounds(node: fx.Node, user: fx.Node) -> dict[str, Any] | None:
    if any(argument(node, name) is not None for name in _BOUNDS):
        return None
    if is_call(user, aten.relu.default):
        return {"low": 0.0}
    names = _CLAMPS.get(user.target)  # type: ignore[arg-type]
    if names is None:
        return {"low": 0.0, "high": 6.0} if is_call(user, aten.relu6.default) else None
    found = [argument(user, name) for name in names]
    if any(isinstance(bound, fx.Node) for bound in found):
        return None
    return {
        name: float(bound)
        for name, bound in zip(_BOUNDS, found, strict=True)
        if bound is not None and math.isfinite(bound)
    }
