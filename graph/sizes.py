"""The size of a dynamic dimension, from the name or arithmetic that a program's signature gives it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

__all__ = ["dimension"]

_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip


def dimension(text: str, sizes: Mapping[str, int]) -> int:
    """The value of a dimension such as `batch` or `2*batch + 1`; what is no arithmetic keeps the example's size."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name):
            return sizes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return int(_OPERATORS[type(node.op)](value(node.left), value(node.right)))
        raise KeyError(text)

    try:
        return value(ast.parse(text, mode="eval").body)
    except (KeyError, SyntaxError, ZeroDivisionError):
        return sizes[text]
