"""Concrete shapes of every value in a program at one batch size, without memory or arithmetic.

One pass of fake tensors over the graph: inputs take the example's sizes with the dimension called `batch` replaced. A
decoder with a key–value cache takes one token behind 128 others: what it does most of the time.
The graph's own metadata, where dynamic dimensions are symbols, is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import SymInt, Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from compressor.graph.kv_cache import cache_of
from compressor.graph.naming import BATCH, PAST, SEQUENCE
from compressor.graph.program import Program
from compressor.graph.sizes import dimension

__all__ = ["BATCH", "READING", "STEP", "Values", "concrete_values", "op_name"]

Values = Mapping[fx.Node, Any]
STEP = {PAST: 128, SEQUENCE: 1}  # of a decoder with a cache: a token behind others
READING = {PAST: 0, SEQUENCE: 128}  # a text at once
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def op_name(node: fx.Node) -> str:
    """`aten.relu_.default` → `relu`, `compressor.quantize.default` → `compressor::quantize`, a function's own name."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = str(target._schema.name).partition("::")
        name = name.removesuffix("_") if torch.Tag.inplace in target.tags else name
        return name if namespace == "aten" else f"{namespace}::{name}"
    return str(getattr(target, "__name__", target))


def concrete_values(
    program: Program, batch: int = 1, sizes: Mapping[str, int] | None = None
) -> dict[fx.Node, Any]:  # fmt: skip
    """Fake tensors (or plain numbers) by node, with every dimension a number. `sizes` are those of other dynamic
    dimensions than the batch, where they are not to be the example's.

    Where an operator cannot be evaluated on shapes alone (its result's size depends on data), the shapes recorded
    at capture stand in, with unknown dimensions taken as 1.
    """
    values: dict[fx.Node, Any] = {}
    symbols: dict[Any, int] = {}
    known = (STEP if cache_of(program.inputs) else {}) if sizes is None else sizes
    inputs = iter(_input_shapes(program, batch, known))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = _placeholder(node, next(inputs), symbols)
            elif node.op == "get_attr":
                value = program.get(str(node.target))
                values[node] = _empty(value.shape, value.dtype) if isinstance(value, Tensor) else value
            elif node.op != "output":
                values[node] = _call(node, values, symbols)
    return values


def _input_shapes(
    program: Program, batch: int, sizes: Mapping[str, int]
) -> list[tuple[tuple[int, ...], torch.dtype]]:  # fmt: skip
    pairs = list(zip(program.inputs, program.example, strict=True))
    given = next((e.shape[i] for s, e in pairs for i, d in enumerate(s.shape) if d == BATCH), batch)

    def size(wanted: int | str, example: int) -> int:
        if isinstance(wanted, str) and sizes:
            return dimension(wanted, {wanted: example, **sizes, BATCH: batch})
        scales = isinstance(wanted, str) and BATCH in wanted  # also "2*batch"
        return example * batch // given if scales and example * batch % given == 0 else example

    return [(tuple(map(size, spec.shape, value.shape)), value.dtype) for spec, value in pairs]


def _placeholder(node: fx.Node, shape: tuple[tuple[int, ...], torch.dtype], symbols: dict[Any, int]) -> Tensor:
    recorded = node.meta.get("val")
    if isinstance(recorded, Tensor):
        for size, concrete in zip(recorded.shape, shape[0], strict=True):
            symbol = _expression(size)
            if symbol is not None and symbol.is_Symbol:
                symbols[symbol] = concrete
    return _empty(*shape)


def _call(node: fx.Node, values: Values, symbols: Mapping[Any, int]) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    if op_name(node) in RECURRENT and isinstance(args[3], bool):
        return _recurrent(args)
    try:
        return node.target(*args, **kwargs)  # type: ignore[operator]
    except Exception:  # noqa: BLE001  fake kernels raise many types; each means that shapes alone do not tell
        return pytree.tree_map(lambda leaf: _recorded(leaf, symbols), node.meta.get("val"))


def _recurrent(args: Any) -> tuple[Tensor, ...]:
    """Outputs of lstm, gru and rnn directly: evaluated step by step they would cost time in the sequence's length.

    Arguments: input, hidden, parameters, has_biases, layers, dropout, train, bidirectional, batch_first.
    """
    hidden = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
    width = hidden[0].shape[-1] * (2 if args[7] else 1)
    output = _empty((*args[0].shape[:-1], width), args[0].dtype)
    return (output, *(_empty(state.shape, state.dtype) for state in hidden))


def _recorded(leaf: Any, symbols: Mapping[Any, int]) -> Any:
    if isinstance(leaf, Tensor):
        return _empty(tuple(_size(size, symbols) for size in leaf.shape), leaf.dtype)
    return _size(leaf, symbols)


def _size(size: Any, symbols: Mapping[Any, int]) -> Any:
    expression = _expression(size)
    if expression is None:
        return size
    known = expression.xreplace(dict(symbols))
    return int(known) if isinstance(known, int) or known.is_number else 1  # a bare symbol is replaced by a plain int


def _expression(size: Any) -> Any:
    """The sympy expression of a dynamic size, None for anything else."""
    return size.node.expr if isinstance(size, SymInt) else None


def _empty(shape: Any, dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype)
