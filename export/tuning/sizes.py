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

from compressor.export.kernels.module import evaluated

__all__ = ["Sizes", "buffers", "calls", "known_sizes", "settled", "with_case"]

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
            sizes = _unified(module[name], _given(expression), values)
            if sizes is not None:
                found.setdefault(str(name.name_hint), Counter())[sizes] += 1

    relax.analysis.post_order_visit(main, visit)
    return found


def buffers(function: Any) -> list[Any]:
    """The parameters that are tensors; others are sizes."""
    return [parameter for parameter in function.params if isinstance(parameter.ty, tirx.BufferType)]


def known_sizes(function: Any) -> bool:
    """Whether all sizes are numbers."""
    return not _variables(function)


def settled(function: Any, sizes: Sizes) -> Any:
    """The function with numbers for its sizes."""
    if known_sizes(function):
        return function
    variables, values = _variables(function), dict(sizes)
    # parameters alone can be given values
    given = tirx.PrimFunc([*buffers(function), *variables.values()], function.body, attrs=function.attrs)
    return given.specialize({each: tirx.IntImm("int64", values[name]) for name, each in variables.items()})


def with_case(function: Any, sizes: Sizes, other: Any) -> Any:
    """`function`, which runs what `other` does where it is called at `sizes`; `other` has those for its own."""
    other = s_tir.renew_defs(other)  # buffers of its own
    variables = _variables(function)
    same = [tirx.EQ(variables[name], tirx.IntImm("int64", value)) for name, value in sizes]
    views = [
        tirx.DeclBuffer(theirs, data=ours.data) for theirs, ours in zip(buffers(other), buffers(function), strict=True)
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


def _given(call: Any) -> list[Any]:
    """What a call gives, in the order of the function's parameters: shapes of its arguments and then of its results,
    and sizes as they are."""
    found = [field if _is_size(field) else getattr(field.ty, "shape", None) for field in call.args[1].fields]
    results = call.ty_args[0]
    types = list(results.fields) if isinstance(results, relax.TupleType) else [results]
    return [*found, *(getattr(each, "shape", None) for each in types)]


def _is_size(argument: Any) -> bool:
    return bool(tvm.ir.is_prim_expr(argument))


def _unified(function: Any, given: Sequence[Any], values: Mapping[str, tuple[Any, int]]) -> Sizes | None:
    """What the function's size variables are at a call, or None where that is not known.

    A variable is what the call gives in the place where it is a size by itself, else what main calls by its name; all
    sizes have to come out as the call has them.
    """
    pairs: list[tuple[Any, int | None]] = []
    if len(given) != len(function.params):
        return None
    for parameter, each in zip(function.params, given, strict=True):
        if not isinstance(parameter.ty, tirx.BufferType) and _is_size(each):
            pairs.append((parameter, evaluated(each, values.values())))
        elif isinstance(parameter.ty, tirx.BufferType) and isinstance(each, relax.ShapeExpr):
            numbers = [evaluated(size, values.values()) for size in each.values]
            pairs += zip(parameter.shape, numbers, strict=True)
        else:
            return None
    alone = {str(size.name): number for size, number in pairs if isinstance(size, tirx.Var) and number is not None}
    found = {name: alone.get(name, values.get(name, (None, None))[1]) for name in _variables(function)}
    settled = {name: (variable, found[name]) for name, variable in _variables(function).items()}
    if any(number is None for number in found.values()):
        return None
    if any(number is None or evaluated(size, settled.values()) != number for size, number in pairs):
        return None
    return tuple(sorted((name, int(number)) for name, number in found.items() if number is not None))


def _variables(function: Any) -> dict[str, Any]:
    """The variables of a function's sizes, by name."""
    sizes = [size for tensor in buffers(function) for size in tensor.shape]
    sizes += [parameter for parameter in function.params if not isinstance(parameter.ty, tirx.BufferType)]
    return {str(each.name): each for size in sizes for each in tirx.analysis.undefined_vars(size)}


def _all(conditions: Iterable[Any]) -> Any:
    result = None
    for condition in conditions:
        result = condition if result is None else tirx.And(result, condition)
    return result
