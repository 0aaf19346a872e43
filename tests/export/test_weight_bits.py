"""Bits a weight, counted in files whose bytes can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from compiled import needs_tvm
from onnx import numpy_helper
from own_operators import in_blocks, tied, with_operators
from torch import Tensor, nn

from compressor.export.onnx import to_onnx
from compressor.export.pack import pack_model, packed_parts
from compressor.export.weight_bits import weight_bits
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.body, self.head = nn.Embedding(50, 128), nn.Linear(128, 128), nn.Linear(128, 40)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(self.table(ids))))


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(Net(), (torch.randint(0, 50, (2, 4)),)).program


def saved(program: Program, folder: Path) -> Path:
    to_onnx(program, board()).save(folder / "model.onnx")
    return folder / "model.onnx"


def test_floats_take_what_they_take(net: Program, tmp_path: Path) -> None:
    found = weight_bits(saved(net, tmp_path))
    assert found == {
        "weights": net.parameters(), "bits_on_disk": 32.0, "bits_in_memory": 32.0,
        "formats": {"fp32": {"weights": net.parameters(), "bits_on_disk": 32.0, "bits_in_memory": 32.0}},
    }  # fmt: skip


def test_blocks_with_their_scales_packed_and_not(net: Program, tmp_path: Path) -> None:
    path = saved(Quantize("ternary", block=128).run(net, Context(board())).program, tmp_path)
    packed = pack_model(path)
    assert packed is not None
    found = weight_bits(path, packed_parts(packed))
    linear = 128 * 128 + 40 * 128
    scale = 32 / 128
    assert found["formats"]["ternary"] == {
        "weights": linear, "bits_on_disk": pytest.approx(1.6 + scale, abs=0.01), "bits_in_memory": 2 + scale,
    }  # fmt: skip
    assert found["formats"]["int4"] == {
        "weights": 50 * 128, "bits_on_disk": 4 + scale, "bits_in_memory": 4 + scale
    }  # fmt: skip
    assert found["formats"]["fp32"]["weights"] == 168, "biases"
    assert found["weights"] == net.parameters()
    assert found["bits_on_disk"] < found["bits_in_memory"]
    assert weight_bits(path)["bits_on_disk"] == weight_bits(path)["bits_in_memory"] == found["bits_in_memory"]
    assert "int2" in weight_bits(path)["formats"], "what the codes are is known when they are packed"


def test_integers_with_their_scales_and_zero_points(net: Program, tmp_path: Path) -> None:
    data = [{net.inputs[0].name: torch.randint(0, 50, (2, 4))}]
    path = saved(Quantize("int8").run(net, Context(board(), calibration=data)).program, tmp_path)
    formats = weight_bits(path)["formats"]
    assert formats["int8"]["weights"] == 50 * 128 + 128 * 128 + 40 * 128
    assert 8.0 < formats["int8"]["bits_in_memory"] < 8.5
    assert formats["fp32"] == {"weights": 168, "bits_on_disk": 32.0, "bits_in_memory": 32.0}, "biases alone"


@pytest.mark.parametrize("rows", [(2, 3, 8, 8), (2, 12)], ids=["convolutions", "linears"])
def test_a_bias_has_32_bits_and_its_scale_counts_with_the_weights(rows: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)) if len(rows) == 4 else (nn.Linear(12, 8), nn.Linear(8, 4))
    given = torch.randn(rows)
    program = capture(nn.Sequential(layers[0], nn.ReLU(), layers[1]), (given,)).program
    data = [{program.inputs[0].name: given}]
    path = saved(Quantize("int8").run(program, Context(board(), calibration=data)).program, tmp_path)
    found = weight_bits(path)
    assert found["formats"]["int32"] == {"weights": 12, "bits_on_disk": 32.0, "bits_in_memory": 32.0}
    graph = onnx.load(path).graph
    stored = {each.name: numpy_helper.to_array(each).nbytes for each in graph.initializer}
    codes = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored]
    total = sum(stored[name] for name in {name for node in codes for name in node.input})
    assert found["bits_in_memory"] == pytest.approx(8 * total / found["weights"], abs=1e-3), "every byte once"


def test_weights_laid_out_for_operators_are_counted_without_what_pads_them(tmp_path: Path) -> None:
    needs_tvm()
    model = with_operators(in_blocks(37, 128, "int4", 32), tmp_path)
    found = weight_bits(model)["formats"]
    padded = 40 * 128 // 2 + 40 * 4 * 4  # codes and scales, in registers of 8 outputs
    assert found["int4"]["weights"] == 37 * 128
    assert found["int4"]["bits_in_memory"] == pytest.approx(8 * padded / (37 * 128), abs=1e-3)
    assert found["fp32"]["weights"] == 40  # the bias
    both = weight_bits(with_operators(tied(), tmp_path))["formats"]
    assert {name: each["weights"] for name, each in both.items()} == {"int4": 70 * 64}
