"""Sizes that a trace computed as tensors become plain integers again.

    item(to_copy(mul(scalar_tensor(sym_size(x, 0)), 2)))   →   sym_size(x, 0) * 2

A traced TorchScript turns sizes into tensors, so that its arithmetic is recorded; converted, each `item` is a number
that torch.export knows nothing about. The assertions about those numbers go with them: capture makes its own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["plain_sizes"]

_aten = torch.ops.aten
_MAKES = {_aten.scalar_tensor.default}
_KEEPS = {_aten._to_copy.default, _aten.to.dtype, _aten.clone.default, _aten.detach.default, _aten.alias.default}
_READS = {_aten._local_scalar_dense.default, _aten.item.default}
_ASSERTS = {_aten._assert_scalar.default, _aten.sym_constrain_range.default, _aten.sym_constrain_range_for_size.default}
_ARITHMETIC: dict[Any, Callable[[Any, Any], Any]] = {
    _aten.add.Tensor: operator.add, _aten.add.Scalar: operator.add,
    _aten.sub.Tensor: operator.sub, _aten.sub.Scalar: operator.sub,
    _aten.mul.Tensor: operator.mul, _aten.mul.Scalar: operator.mul,
    _aten.floor_divide.default: operator.floordiv, _aten.floor_divide.Scalar: operator.floordiv,
    _aten.div.Tensor_mode: operator.floordiv, _aten.div.Scalar_mode: operator.floordiv,
    _aten.remainder.Tensor: operator.mod, _aten.remainder.Scalar: operator.mod,
}  # fmt: skip


def plain_sizes(module: fx.GraphModule) -> None:
    """Rewrite the graph in place; tensors that are not integers made from sizes stay as they are."""
    graph, sizes = module.graph, dict[fx.Node, Any]()
    for node in list(graph.nodes):
        if node.op == "get_attr" and (constant := _constant(module, str(node.target))) is not None:
            sizes[node] = constant
        elif node.target in _MAKES and _is_integer(node):
            sizes[node] = node.args[0]
        elif node.target in _KEEPS and node.args[0] in sizes and _is_integer(node):
            sizes[node] = sizes[node.args[0]]
        elif node.target in _ARITHMETIC and _operands_known(node, sizes):
            sizes[node] = _computed(graph, node, [sizes.get(a, a) for a in node.args[:2]])
        elif node.target in _READS and node.args[0] in sizes:
            _replace(node, sizes[node.args[0]])
    for node in reversed(list(graph.nodes)):
        if node.target in _ASSERTS:
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _constant(module: fx.GraphModule, name: str) -> int | None:
    """The integer in a constant tensor without dimensions."""
    value = operator.attrgetter(name)(module)
    if isinstance(value, Tensor) and value.dim() == 0 and value.dtype in (torch.int32, torch.int64):
        return int(value)
    return None


def _is_integer(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dim() == 0 and value.dtype in (torch.int32, torch.int64)


def _operands_known(node: fx.Node, sizes: dict[fx.Node, Any]) -> bool:
    known = all(a in sizes if isinstance(a, fx.Node) else type(a) is int for a in node.args[:2])
    exact = "alpha" not in node.kwargs and node.kwargs.get("rounding_mode", "floor") is not None
    return known and exact and len(node.args) == 2 and _is_integer(node)


def _computed(graph: fx.Graph, node: fx.Node, operands: list[Any]) -> Any:
    """Sizes are not negative, so that truncation is floor."""
    function = _ARITHMETIC[node.target]
    left, right = operands
    if isinstance(left, int) and isinstance(right, int):
        truncated = function is operator.floordiv and node.kwargs.get("rounding_mode") == "trunc" and right
        return math.trunc(left / right) if truncated else function(left, right)
    with graph.inserting_before(node):
        return graph.call_function(function, (left, right))


def _replace(node: fx.Node, value: Any) -> None:
    for user in list(node.users):
        user.args = fx.map_arg(user.args, lambda n: value if n is node else n)
        user.kwargs = fx.map_arg(user.kwargs, lambda n: value if n is node else n)
