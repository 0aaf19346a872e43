from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from boards import board
from quantized import with_int8
from torch import Tensor, nn

from compressor.export.agreement import INT8, tolerance_of
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.edit import finish
from compressor.graph.program import Program
from compressor.targets.target import Runtime


@pytest.fixture(scope="module")
def int8_program(conv_program: Program) -> Program:
    return with_int8(conv_program, "conv2d", "linear", output=False)


@pytest.mark.parametrize("opset", [18, 21])
def test_quantized_program_becomes_qdq_that_agrees(int8_program: Program, opset: int, tmp_path: Path) -> None:
    target = board(runtime=Runtime("onnxruntime", "1.23", opset, "test"))
    lowered = to_onnx(int8_program, target)
    counts = Counter(node.op_type for node in lowered.model.graph)
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (2, 4)
    assert counts["Clip"] == 0
    kinds = {name: str(v.const_value.dtype) for name, v in lowered.model.graph.initializers.items() if v.const_value}
    assert kinds["conv.weight_0"] == kinds["head.weight_0"] == "INT8"
    lowered.save(tmp_path / "model.onnx")
    assert tolerance_of(int8_program) is INT8
    assert check(int8_program, tmp_path / "model.onnx").error < INT8.relative_rms


def test_a_narrower_range_is_clipped(int8_program: Program, tmp_path: Path) -> None:
    program = int8_program.copy()
    for node in program.nodes():
        if node.target is torch.ops.compressor.quantize.default:
            node.update_arg(3, 10)
            node.update_arg(4, 200)
    program = finish(program)
    lowered = to_onnx(program, board())
    assert Counter(node.op_type for node in lowered.model.graph)["Clip"] == 2
    lowered.save(tmp_path / "model.onnx")
    check(program, tmp_path / "model.onnx")


def test_batch_norm_is_one_node_or_folded_into_the_convolution(conv_lowered) -> None:  # type: ignore[no-untyped-def]
    kinds = {node.op_type for node in conv_lowered.model.graph}
    assert kinds <= {"Conv", "BatchNormalization", "Relu", "ReduceMean", "Gemm"}


class Standardized(nn.Module):
    """A convolution whose weight is normalized by its own statistics, as in BiT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.conv.weight.reshape(1, 4, -1)
        rows = nn.functional.batch_norm(rows, None, None, weight=self.scale, training=True, momentum=0.0, eps=1e-6)
        return nn.functional.conv2d(x, rows.reshape_as(self.conv.weight))


def test_batch_norm_with_statistics_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = capture(Standardized(), (torch.randn(2, 3, 6, 6),)).program
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-5


class Pools(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pool = torch.nn.functional.adaptive_avg_pool2d
        return pool(x, 1), pool(x[0], 1), pool(x, (1, 3))


class OnePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 1).sum() + nn.functional.adaptive_avg_pool1d(x.flatten(2), 1)


@pytest.mark.parametrize(("model", "shortcut"), [(OnePool(), True), (Pools(), False)])
def test_pooling_to_one_value_is_one_node_where_all_pools_are(model: nn.Module, shortcut: bool, tmp_path: Path) -> None:
    program = capture(model, (torch.randn(2, 3, 6, 6),)).program
    lowered = to_onnx(program, board())
    assert ("GlobalAveragePool" in {node.op_type for node in lowered.model.graph}) == shortcut
    lowered.save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-5


class Experts(nn.Module):
    """Rows sorted by expert, of which the third has none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8, 6))

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        return torch.ops.transformers.grouped_mm_fallback(x, self.weight, counts.cumsum(0))


def test_experts_multiply_their_own_rows(tmp_path: Path) -> None:
    pytest.importorskip("transformers.integrations.moe", reason="transformers has the operator")
    torch.manual_seed(0)
    program = capture(Experts(), (torch.randn(7, 8), torch.tensor([2, 4, 0, 1]))).program
    lowered = to_onnx(program, board())
    assert [node.op_type for node in lowered.model.graph].count("MatMul") == 4
    lowered.save(tmp_path / "model.onnx")
    others = [{"x": torch.randn(7, 8), "counts": torch.tensor(counts)} for counts in ([7, 0, 0, 0], [0, 3, 2, 2])]
    assert check(program, tmp_path / "model.onnx", others).error < 1e-5


class Divided(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool = nn.functional.avg_pool2d
        return pool(x, 3, 2, 1, divisor_override=2), pool(x, (1, 2), count_include_pad=False, divisor_override=5)


def test_a_pool_with_a_divisor_of_its_own(tmp_path: Path) -> None:
    program = capture(Divided(), (torch.randn(2, 3, 7, 6),)).program
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-5
