"""Weights in slots in ONNX: the file holds the slots alone, and computes what PyTorch does."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.export.ort import to_ort
from compressor.export.session import session
from compressor.export.slots import expanded
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.quant.slots import expand_slots, grid_of

WIDTH, LAYERS = 96, 3


class Slots(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grid = grid_of(LAYERS * WIDTH**2, LAYERS * WIDTH**2 // 10)
        self.slots = nn.Parameter(torch.randn(self.grid.slots) / 10)

    def forward(self, x: Tensor) -> Tensor:
        sizes = [WIDTH**2] * LAYERS
        flat = expand_slots(self.slots, self.grid.rows, 5, sizes, [1.0] * LAYERS)
        for part in flat.split(sizes):
            x = torch.relu(nn.functional.linear(x, part.view(WIDTH, WIDTH)))
        return x


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Slots(), (torch.randn(2, WIDTH),)).program


def test_the_file_holds_the_slots_and_no_index(program: Program, tmp_path: Path) -> None:
    dense = 4 * LAYERS * WIDTH**2
    path = tmp_path / "model.onnx"
    to_onnx(program, board()).save(path)
    assert program.unique_bytes() < dense / 9
    assert path.stat().st_size < program.unique_bytes() + 12_000
    assert check(program, path).error < 1e-6


def test_the_runtime_computes_the_map_when_it_loads(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    to_onnx(program, board()).save(path)
    session(path)
    to_ort(path, board(), batch={"x": program.example[0]})
    kinds = {line.split(";")[0] for line in path.with_suffix(".required_operators.config").read_text().splitlines()}
    assert kinds, "the converter names what is left to run"
    text = path.with_suffix(".required_operators.config").read_text()
    assert "GatherElements" not in text
    assert "Range" not in text


def test_dense_weights_for_other_runtimes(program: Program) -> None:
    dense = expanded(program)
    assert dense.unique_bytes() == 4 * LAYERS * WIDTH**2
    [ours], [theirs] = dense.run().values(), program.run().values()
    assert torch.equal(ours, theirs)
    assert expanded(dense) is dense


def test_the_map_is_left_to_the_runtime_though_it_is_constant(program: Program) -> None:
    graph = onnx.shape_inference.infer_shapes(_proto(program)).graph
    assert any(node.op_type == "GatherElements" for node in graph.node)


def _proto(program: Program) -> onnx.ModelProto:
    import onnx_ir as ir

    return ir.to_proto(to_onnx(program, board()).model)
