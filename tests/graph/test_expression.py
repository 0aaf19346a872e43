"""The grammar lets through what torch writes, and nothing that Python would run."""

from __future__ import annotations

import pytest
import sympy

from compressor.graph.expression import FUNCTIONS, is_arithmetic

HONEST = [
    "Symbol('s77', positive=True, integer=True)",
    "Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(-1))",
    "Pow(Symbol('s0', integer=True), Integer(2))",
    "Pow(Symbol('s0', integer=True), Rational(1, 2))",
    "Float('1.5', precision=53)",
    "FloorDiv(Symbol('s0', integer=True), Integer(2))",
    "2*s0 + 1",
    "s0//2 - (s1 % 3)",
    "Eq(Mod(Symbol('s0', integer=True), Integer(8)), Integer(0))",
    "StrictLessThan(Symbol('u0', integer=True), Integer(4))",
    "oo",
]

HOSTILE = [
    "__import__('os').system('touch canary')",
    "Symbol('s0').__class__.__mro__",
    "(lambda: 1)()",
    "[x for x in (1,)]",
    "S('__import__(\"os\")')",
    "sympify('1')",
    "parse_expr('1')",
    "eval('1')",
    "exec('1')",
    'Symbol(\'__import__("os").system("x")\')',
    "Symbol(open('canary', 'w'))",
    "Symbol('s0', cls=Symbol('s1'))",
    "Integer(getattr(s0, 'x'))",
    "Integer('1')",
    "f'{s0}'",
    "(s0 := 1)",
    "s0 if s1 else s2",
    "s0; s1",
    "s0\ns1",
    "10**10**10",
    "10**10000000000",
    "Pow(Integer(10), Pow(Integer(10), Integer(10)))",
    "Pow(Pow(Pow(Integer(99), Integer(99)), Integer(99)), Integer(99))",
    "LShift(Integer(1), Integer(100000000000))",
    "((((2**64)**64)**64)**64)**64",
    "s0**1e999",
    "(" * 5000,
    "1 +" * 3000 + "1",
    "",
    "ｓ0",
    "lambda",
    "Add(*s0)",
    "Add(**s0)",
    "Symbol('s0'",
]


@pytest.mark.parametrize("text", HONEST)
def test_honest_expression_passes(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_expression_is_refused(text: str) -> None:
    assert not is_arithmetic(text)


def test_srepr_of_what_torch_builds_passes() -> None:
    from torch.utils._sympy.functions import FloorDiv, Mod, PythonMod

    s, t = (sympy.Symbol(name, positive=True, integer=True) for name in ("s0", "s1"))
    for expression in (2 * s + t, FloorDiv(s, 2) * 4, Mod(s, t), PythonMod(s, t), s**2 - 3 * t, sympy.Max(s, t), s / t):
        assert is_arithmetic(sympy.srepr(expression))


def test_every_function_is_one_that_sympy_or_torch_defines() -> None:
    from torch.utils._sympy import functions

    assert all(hasattr(sympy, name) or hasattr(functions, name) for name in FUNCTIONS)
