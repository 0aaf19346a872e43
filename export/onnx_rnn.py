"""LSTM, GRU and Elman RNN as one ONNX node a layer, where torch's decomposition would unroll the sequence.

    torch    W_ih rows ordered i f g o (LSTM), r z n (GRU)          one tensor a direction
    ONNX     W    rows ordered i o f c (LSTM), z r h (GRU)          (directions, gates·hidden, input)

GRU sets linear_before_reset=1: torch applies the recurrent matrix before the reset gate. The packed weights are
written as Gather and Concat of the parameters; `is_packing` tells the constant folder to fold them at any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.onnx_opset import opset18 as op

from compressor.graph.program import Program

__all__ = ["RECURRENT", "RECURRENT_TRANSLATIONS", "has_projection", "is_packing"]

RECURRENT = ("LSTM", "GRU", "RNN")
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # ONNX's order, as positions in torch's
_PACKING = ("Gather", "Concat", "Unsqueeze")


def has_projection(program: Program) -> bool:
    """Whether an LSTM projects its hidden state (`proj_size`): ONNX's cannot, so it must be decomposed."""
    return any(node.target is torch.ops.aten.lstm.input and _is_projected(*node.args) for node in program.nodes())


def is_packing(node: ir.Node) -> bool:
    """Whether a node only rearranges weights for a recurrent layer."""
    uses = [(user, index) for value in node.outputs for user, index in value.uses()]
    return (
        node.op_type in _PACKING
        and bool(uses)
        and all((user.op_type in RECURRENT and 1 <= index <= 3) or is_packing(user) for user, index in uses)
    )


def _is_projected(*args: Any) -> bool:
    _, _, params, has_biases, layers, _, _, bidirectional, _ = args
    return bool(len(params) != layers * (2 if bidirectional else 1) * (4 if has_biases else 2))


def _lstm(
    x: Any, hx: Sequence[Any], params: Sequence[Any], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Any, ...]:  # fmt: skip
    return _stack("LSTM", {}, x, hx, params, has_biases, num_layers, bidirectional, batch_first)


def _single_state(kind: str, **attributes: Any) -> Callable[..., tuple[Any, ...]]:
    """GRU and RNN: one state where LSTM has two."""

    def translate(
        x: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int,
        dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        return _stack(kind, attributes, x, (hx,), params, has_biases, num_layers, bidirectional, batch_first)

    return translate


def _stack(
    kind: str, attributes: Mapping[str, Any], x: Any, states: Sequence[Any], params: Sequence[Any],
    has_biases: bool, layers: int, bidirectional: bool, batch_first: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """The layers, one after the other. x is (sequence, batch, input); each state (layers·directions, batch, hidden)."""
    directions = 2 if bidirectional else 1
    hidden = params[1].shape[1]
    extra = dict(attributes)
    if bidirectional and "activations" in extra:
        extra["activations"] = list(extra["activations"]) * 2
    if batch_first:
        x = op.Transpose(x, perm=[1, 0, 2])
    finals: list[list[Any]] = [[] for _ in states]
    per_layer = len(params) // layers
    for layer in range(layers):
        weights = _packed(kind, params[layer * per_layer : (layer + 1) * per_layer], directions, has_biases, hidden)
        initial = [_rows(state, layer * directions, directions, layers) for state in states]
        y, *last = _node(kind, x, *weights, initial, hidden, "bidirectional" if bidirectional else "forward", extra)
        x = _merged(y, directions, hidden)
        for store, value in zip(finals, last, strict=True):
            store.append(value)
    y = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    return (y, *(op.Concat(*values, axis=0) if layers > 1 else values[0] for values in finals))


def _node(
    kind: str, x: Any, w: Any, r: Any, b: Any, initial: Sequence[Any], hidden: int, direction: str, extra: Any
) -> tuple[Any, ...]:
    options = {"hidden_size": hidden, "direction": direction, **extra}
    if kind == "LSTM":
        return tuple(op.LSTM(x, w, r, b, None, *initial, **options))
    return tuple((op.GRU if kind == "GRU" else op.RNN)(x, w, r, b, None, *initial, **options))


def _packed(
    kind: str, params: Sequence[Any], directions: int, has_biases: bool, hidden: int
) -> tuple[Any, Any, Any | None]:
    """W (directions, gates·hidden, input), R (…, hidden) and B (directions, 2·gates·hidden) or None."""
    rows = [gate * hidden + unit for gate in _GATES[kind] for unit in range(hidden)]
    ordered = params
    if len(_GATES[kind]) > 1:
        index = op.Constant(value_ints=rows)
        ordered = [op.Gather(parameter, index, axis=0) for parameter in params]
    step = len(params) // directions
    parts = [ordered[d * step : (d + 1) * step] for d in range(directions)]

    def joined(values: Sequence[Any]) -> Any:
        raised = [op.Unsqueeze(value, op.Constant(value_ints=[0])) for value in values]
        return op.Concat(*raised, axis=0) if directions > 1 else raised[0]

    bias = joined([op.Concat(*part[2:], axis=0) for part in parts]) if has_biases else None
    return joined([part[0] for part in parts]), joined([part[1] for part in parts]), bias


def _rows(state: Any, start: int, count: int, layers: int) -> Any:
    if layers == 1:
        return state
    begin, end, axis = (op.Constant(value_ints=[number]) for number in (start, start + count, 0))
    return op.Slice(state, begin, end, axis)


def _merged(y: Any, directions: int, hidden: int) -> Any:
    """(sequence, directions, batch, hidden) → (sequence, batch, directions·hidden)."""
    if directions == 1:
        return op.Squeeze(y, op.Constant(value_ints=[1]))
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, directions * hidden]))


RECURRENT_TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.lstm.input: _lstm,
    torch.ops.aten.gru.input: _single_state("GRU", linear_before_reset=1),
    torch.ops.aten.rnn_tanh.input: _single_state("RNN"),
    torch.ops.aten.rnn_relu.input: _single_state("RNN", activations=["Relu"]),
}
