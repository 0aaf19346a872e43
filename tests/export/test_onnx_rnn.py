from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.export.check import check
from compressor.export.onnx import Lowered, to_onnx
from compressor.graph.capture import capture
from compressor.graph.program import Program

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bidirectional": True, "bias": False},
)


class Zoo(nn.Module):
    """Every kind of recurrent layer in every variant, on one sequence; states of its own for the first LSTM."""

    def __init__(self) -> None:
        super().__init__()
        kinds = [*((kind, {}) for kind in (nn.LSTM, nn.GRU, nn.RNN)), (nn.RNN, {"nonlinearity": "relu"})]
        self.layers = nn.ModuleList(kind(6, 5, **extra, **v) for kind, extra in kinds for v in VARIANTS)
        self.stated = nn.LSTM(6, 5)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> dict[str, Any]:
        outputs = {str(index): layer(x) for index, layer in enumerate(self.layers)}
        return {**outputs, "stated": self.stated(x, (h, c))}


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Zoo(), (torch.randn(2, 3, 6), torch.randn(1, 3, 5), torch.randn(1, 3, 5)), static=True).program


def test_all_variants_agree(program: Program, tmp_path: Path) -> None:
    lowered = to_onnx(program, board())
    lowered.save(tmp_path / "model.onnx")
    agreement = check(program, tmp_path / "model.onnx")
    assert agreement.error < 1e-5
    assert len(agreement.outputs) == len(program.outputs) == 30
    counts = Counter(node.op_type for node in lowered.model.graph)
    assert (counts["LSTM"], counts["GRU"], counts["RNN"]) == (5, 4, 8)


def test_a_projected_lstm_which_onnx_lacks_is_decomposed(tmp_path: Path) -> None:
    program = capture(nn.LSTM(4, 5, proj_size=3), (torch.randn(2, 2, 4),), static=True).program
    lowered = to_onnx(program, board())
    lowered.save(tmp_path / "model.onnx")
    assert "LSTM" not in {node.op_type for node in lowered.model.graph}
    assert check(program, tmp_path / "model.onnx").error < 1e-5


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 40, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(80, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gru(self.lstm(x)[0])[0]
        return y


@pytest.fixture(scope="module")
def stack() -> tuple[Program, Lowered]:
    program = capture(Stack(), (torch.randn(2, 4, 6),)).program
    return program, to_onnx(program, board())


def test_one_node_a_layer_and_weights_packed_beforehand(stack: tuple[Program, Lowered]) -> None:
    program, lowered = stack
    counts = Counter(node.op_type for node in lowered.model.graph)
    assert (counts["LSTM"], counts["GRU"]) == (2, 1)
    for node in lowered.model.graph:
        if node.op_type in ("LSTM", "GRU"):
            assert all(value is not None and value.is_initializer() for value in node.inputs[1:4])
    assert "lstm/LSTM.W" in lowered.model.graph.initializers
    assert lowered.weight_bytes < program.unique_bytes() + 4096


def test_batch_stays_dynamic(stack: tuple[Program, Lowered], tmp_path: Path) -> None:
    program, lowered = stack
    lowered.save(tmp_path / "model.onnx")
    assert {"batch": 3} in [{"batch": size["batch"]} for size in check(program, tmp_path / "model.onnx").sizes]
