"""A function whose sizes are known only when it runs, in another schedule at one set of sizes.

    f(x: (n, 64)): loops over n      →      f(x: (n, 64)): if n == 1: the schedule for one row, else: loops over n

A network's batch is mostly such a size. What TVM tunes has numbers for sizes, so it is tuned at those that are timed;
the buffers of both branches are the same memory, seen in two ways, and the network keeps its sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tvm
from tvm import relax, s_tir, tirx
from tvm.ir import Op

__all__ = ["Sizes", "calls", "known_sizes", "settled", "with_case"]

Sizes = tuple[tuple[str, int], ...]  # the values of a function's own size variables, by name and sorted


def calls(module: Any, shapes: Sequence[Sequence[int]]) -> Mapping[str, Counter[Sizes]]:
    """How often each function of loops is called in one run of `main`, by the sizes it is called at.

    `shapes` are those of main's inputs, in order. A call whose sizes do not follow from them is left out.
    """
    main = module["main"]
    values = _inputs(main, shapes)
    found: dict[str, Counter[Sizes]] = {}

    def visit(expression: Any) -> None:
        if isinstance(expression, relax.Call) and expression.op == Op.get("relax.call_tir"):
            name, *_ = expression.args
            sizes = _unified(module[name], _shapes(expression), values)
            if sizes is not None:
                found.setdefault(str(name.name_hint), Counter())[sizes] += 1

    relax.analysis.post_order_visit(main, visit)
    return found


def known_sizes(function: Any) -> bool:
    """Whether all sizes are numbers."""
    return all(isinstance(size, tirx.IntImm) for parameter in function.params for size in parameter.shape)


def settled(function: Any, sizes: Sizes) -> Any:
    """The function with numbers for its sizes."""
    if known_sizes(function):
        return function
    analyzer = _analyzer(function, sizes)
    buffers = {
        parameter: tirx.decl_buffer(
            [analyzer.simplify(size) for size in parameter.shape], parameter.dtype, name=parameter.name
        )
        for parameter in function.params
    }
    return function.specialize(buffers)


def with_case(function: Any, sizes: Sizes, other: Any) -> Any:
    """`function`, which runs what `other` does where it is called at `sizes`; `other` has those for its own."""
    other = s_tir.renew_defs(other)  # buffers of its own
    variables = _variables(function)
    same = [tirx.EQ(variables[name], tirx.IntImm("int64", value)) for name, value in sizes]
    views = [
        tirx.DeclBuffer(theirs, data=ours.data) for theirs, ours in zip(other.params, function.params, strict=True)
    ]
    body = tirx.IfThenElse(_all(same), tirx.SeqStmt([*views, other.body]), function.body)
    block = s_tir.SBlock([], [], [], "root", body)
    return function.with_body(s_tir.SBlockRealize([], tirx.const(True, "bool"), block))


def _inputs(main: Any, shapes: Sequence[Sequence[int]]) -> dict[str, tuple[Any, int]]:
    """main's size variables and their values, by name."""
    found = {}
    for parameter, shape in zip(main.params, shapes, strict=False):
        for size, value in zip(parameter.ty.shape.values, shape, strict=True):
            if isinstance(size, tirx.Var):
                found[str(size.name)] = size, int(value)
    return found


def _shapes(call: Any) -> list[Any]:
    """Shapes of a call's arguments, then of its results, in the order of the function's parameters."""
    types = [argument.ty for argument in call.args[1].fields]
    results = call.ty_args[0]
    types += list(results.fields) if isinstance(results, relax.TupleType) else [results]
    return [getattr(each, "shape", None) for each in types]


def _unified(function: Any, shapes: Sequence[Any], values: Mapping[str, tuple[Any, int]]) -> Sizes | None:
    """What the function's size variables are at a call, or None where that is not known."""
    analyzer = tvm.sym.Analyzer()
    for variable, value in values.values():
        analyzer.bind(variable, tirx.const(value, "int64"))
    found: dict[str, int] = {}
    if len(shapes) != len(function.params):
        return None
    for parameter, shape in zip(function.params, shapes, strict=True):
        if not isinstance(shape, relax.ShapeExpr) or not hasattr(parameter, "shape"):
            return None
        for size, given in zip(parameter.shape, shape.values, strict=True):
            number = analyzer.simplify(given)
            if not isinstance(number, tirx.IntImm):
                return None
            if isinstance(size, tirx.Var) and found.setdefault(str(size.name), int(number)) != int(number):
                return None
    return tuple(sorted(found.items())) if found.keys() == _variables(function).keys() else None


def _variables(function: Any) -> dict[str, Any]:
    """The variables of a function's sizes, by name: those that are a size by themselves."""
    sizes = (size for parameter in function.params for size in parameter.shape)
    return {str(size.name): size for size in sizes if isinstance(size, tirx.Var)}


def _analyzer(function: Any, sizes: Sizes) -> Any:
    analyzer, values = tvm.sym.Analyzer(), dict(sizes)
    for name, variable in _variables(function).items():
        analyzer.bind(variable, tirx.const(values[name], "int64"))
    return analyzer


def _all(conditions: Iterable[Any]) -> Any:
    result = None
    for condition in conditions:
        result = condition if result is None else tirx.And(result, condition)
    return result
