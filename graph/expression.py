"""The arithmetic grammar that a symbolic expression read from a file must match before sympy sees it.

`torch.export.load` hands strings of the file to `sympy.sympify`, which is Python's `eval`. An honest file writes
them with `sympy.srepr`:

    Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(1))        2·s0 + 1

    expression := name | number | function(expression, …) | expression operator expression
                | Symbol('name', flag=True|False, …) | Float('1.5', precision=53)

A name is letters and digits (`s0`, `u1`, `oo`), a function one of `FUNCTIONS`; no attribute, subscript, other string
or call gets through. Integers are bounded, because `Pow(10, Pow(10, 10))` is a file of twenty bytes that never ends.
"""

from __future__ import annotations

import ast
import re

__all__ = ["FUNCTIONS", "is_arithmetic"]

FUNCTIONS = frozenset({
    "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "FloatPow", "FloatTrueDiv", "FloorDiv",
    "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer",
    "IsNonOverlappingAndDenseIndicator", "LShift", "Le", "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing",
    "Mul", "Ne", "Not", "Or", "Pow", "PowByNatural", "PythonMod", "RShift", "Rational", "RoundDecimal", "RoundToInt",
    "StrictGreaterThan", "StrictLessThan", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where",
    "ceiling", "floor", "sqrt",
})  # fmt: skip

_LONGEST = 4096  # characters
_WIDEST = 4096  # bits of an intermediate integer
_NAME = re.compile(r"[a-z]{1,8}[0-9]{1,9}|oo|int_oo|true|false")
_NUMBER = re.compile(r"[-+]?[0-9]{1,40}(\.[0-9]{0,40})?(e[-+]?[0-9]{1,3})?")
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift"})
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.UAdd, ast.USub,
)  # fmt: skip


class _OutsideError(Exception):
    """The expression is outside the grammar."""


def is_arithmetic(text: str) -> bool:
    """Whether `text` is nothing but bounded arithmetic on symbols and numbers."""
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable():
        return False
    try:
        return _bits(ast.parse(text, mode="eval").body) <= _WIDEST
    except (_OutsideError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _bits(node: ast.expr) -> int:
    """An upper bound on the width of any integer that evaluating `node` makes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value.bit_length() if isinstance(node.value, int) else 64
    if isinstance(node, ast.Name) and _NAME.fullmatch(node.id):
        return 64
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, _OPERATORS):
        return _bits(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(node.left, node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
        return _bits(node.left) + _bits(node.right)
    if isinstance(node, ast.Compare) and all(isinstance(op, _OPERATORS) for op in node.ops):
        return max(_bits(side) for side in (node.left, *node.comparators))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node)
    raise _OutsideError


def _call(function: str, node: ast.Call) -> int:
    if function in ("Symbol", "Float"):
        return _literal(node, _NAME if function == "Symbol" else _NUMBER)
    if function not in FUNCTIONS or node.keywords:
        raise _OutsideError
    if function in _POWERS and len(node.args) == 2:
        return _power(node.args[0], node.args[1])
    return sum(_bits(argument) for argument in node.args)


def _literal(node: ast.Call, content: re.Pattern[str]) -> int:
    """`Symbol('s0', integer=True)` or `Float('1.5', precision=53)`: the one place for a string."""
    flags = all(
        isinstance(word.value, ast.Constant) and isinstance(word.value.value, int) and 0 <= word.value.value <= 256
        for word in node.keywords
    )
    match node.args:
        case [ast.Constant(value=str(text))] if flags and content.fullmatch(text):
            return 64
    raise _OutsideError


def _power(base: ast.expr, exponent: ast.expr) -> int:
    """The exponent must be a number written out; its size bounds the result."""
    parts = [exponent]
    match exponent:
        case ast.Call(func=ast.Name(id="Integer" | "Rational"), args=[*numbers], keywords=[]):
            parts = numbers
    sizes = [abs(_number(part)) for part in parts]
    return _bits(base) * max(1, *(int(size) for size in sizes), 1)


def _number(node: ast.expr) -> float:
    operand = node.operand if isinstance(node, ast.UnaryOp) else node
    if isinstance(operand, ast.Constant) and isinstance(operand.value, int | float):
        return operand.value
    raise _OutsideError
