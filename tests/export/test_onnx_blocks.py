"""Weights in blocks through ONNX Runtime's MatMulNBits: the same figures as the reference kernel, and a small file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from quantized import with_blocks
from torch import Tensor, nn

from compressor.export.agreement import FP32, INT8, is_rounding, tolerance_of
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.quant.blocks import BLOCK_FORMATS, pack_blocks, unpack_blocks


def layer(width: int, outputs: int, rows: tuple[int, ...], *, bias: bool = True) -> Program:
    torch.manual_seed(width)
    return capture(nn.Sequential(nn.Linear(width, outputs, bias=bias)), (torch.randn(*rows, width),)).program


def lowered(program: Program, folder: Path) -> Path:
    to_onnx(program, board()).save(folder / "model.onnx")
    return folder / "model.onnx"


def error(program: Program, path: Path, x: Tensor) -> float:
    [ours] = runner(path, threads=1)({program.inputs[0].name: x}).values()
    [reference] = program.run([x]).values()
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("format", ["int4", "int2", "ternary"])
@pytest.mark.parametrize(
    ("width", "outputs", "rows", "block", "bias"),
    [
        (256, 64, (2,), 128, True),
        (131, 7, (3,), 32, True),
        (129, 16, (2, 5), 128, False),
        (200, 33, (2, 3, 4), 64, True),
        (32, 1, (17,), 32, False),
    ],
)
def test_the_runtime_computes_what_the_reference_does(
    width: int, outputs: int, rows: tuple[int, ...], block: int, bias: bool, format: str, integer: bool, tmp_path: Path
) -> None:
    program = layer(width, outputs, rows, bias=bias)
    blocks = with_blocks(program, "linear", format=format, block=block, integer=integer)
    path = lowered(blocks, tmp_path)
    x = program.example[0] * torch.linspace(-2, 2, width).exp()  # blocks of one row differ in their range
    x[0] = 0.0  # a block without extent has no scale
    assert error(blocks, path, x) < 1e-5
    agreement = check(blocks, path)
    assert agreement.error < 1e-5
    assert agreement.tolerance == (INT8 if integer else FP32).relative_rms


@pytest.mark.parametrize("format", ["int4", "ternary"])
@pytest.mark.parametrize("steps", [10, 16, 255])
def test_inputs_on_a_lattice_fall_to_the_runtimes_side_of_a_tie(format: str, steps: int, tmp_path: Path) -> None:
    """Pixels, or what another quantization left: of thousands of values some are ties, and one code is 1/127."""
    program = layer(256, 64, (4,))
    blocks = with_blocks(program, "linear", format=format, block=32)
    path = lowered(blocks, tmp_path)
    drawn = torch.randint(-steps, steps + 1, (512, 256), generator=torch.Generator().manual_seed(steps))
    assert error(blocks, path, drawn / steps) < 2e-6


def test_integer_activations_are_rounded_and_floats_are_not(tmp_path: Path) -> None:
    program = layer(256, 64, (16,))
    floats = with_blocks(program, "linear", integer=False)
    path = lowered(with_blocks(program, "linear"), tmp_path)
    assert 1e-3 < error(floats, path, program.example[0]) < 2e-2, "which is what accuracy level 4 costs"


def test_one_node_with_packed_initializers(tmp_path: Path) -> None:
    program = layer(200, 96, (4,))
    path = lowered(with_blocks(program, "linear", format="int2", block=64), tmp_path)
    model = onnx.load(path)
    [node] = model.graph.node
    assert (node.domain, node.op_type, node.name) == ("com.microsoft", "MatMulNBits", "0/MatMulNBits")
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    assert attributes == {"K": 200, "N": 96, "bits": 2, "block_size": 64, "accuracy_level": 4}
    kinds = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in model.graph.initializer}
    assert kinds == {
        "0.weight_packed": (onnx.TensorProto.UINT8, [96, 4, 16]),
        "0.weight_scale": (onnx.TensorProto.FLOAT, [96, 4]),
        "0.bias": (onnx.TensorProto.FLOAT, [96]),
    }
    assert {entry.domain: entry.version for entry in model.opset_import}["com.microsoft"] == 1
    lowered(program, tmp_path)
    saved = 4 * 200 * 96 - 96 * 4 * (16 + 4)
    small, large = len(model.SerializeToString()), path.stat().st_size
    assert abs(large - small - saved) < 500


def test_rounding_products_are_told(tmp_path: Path) -> None:
    program = layer(64, 8, (2,))
    for integer, tolerance in ((True, INT8), (False, FP32)):
        blocks = with_blocks(program, "linear", integer=integer)
        assert (is_rounding(blocks), tolerance_of(blocks)) == (integer, tolerance)


class Tied(nn.Module):
    """A table and an output layer that share their weight, as language models do."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(words, width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.words(ids).tanh())


@pytest.mark.parametrize(("width", "block"), [(64, 32), (100, 32), (128, 128), (131, 64)])
@pytest.mark.parametrize("shape", [(7,), (2, 3), ()])
def test_a_table_in_blocks_is_read_exactly(width: int, block: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(width)
    program = capture(nn.Sequential(nn.Embedding(40, width)), (torch.randint(0, 40, shape),)).program
    blocks = Quantize("int4", block=block).run(program, Context(board())).program
    path = lowered(blocks, tmp_path)
    ids = torch.randint(0, 40, shape)
    [ours] = runner(path)({program.inputs[0].name: ids}).values()
    [reference] = blocks.run([ids]).values()
    assert torch.equal(ours, reference), "one product a value: nothing is rounded on the way"
    assert check(blocks, path).tolerance == FP32.relative_rms


def test_a_table_tied_to_the_output_layer_is_stored_once(tmp_path: Path) -> None:
    program = capture(Tied(300, 128), (torch.randint(0, 300, (2, 4)),)).program
    blocks = Quantize("int4", block=64).run(program, Context(board())).program
    path = lowered(blocks, tmp_path)
    model = onnx.load(path)
    assert [node.op_type for node in model.graph.node if node.domain] == ["GatherBlockQuantized", "MatMulNBits"]
    [codes] = [list(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.UINT8]
    assert codes == [300, 2, 32]
    assert check(blocks, path).error < 1e-5
    assert path.stat().st_size < 300 * (64 + 2 * 8) + 2000, "the scales are there twice: one shape for each operator"


def test_dynamic_ids(tmp_path: Path) -> None:
    program = capture(nn.Sequential(nn.Embedding(40, 100)), (torch.randint(0, 40, (2, 5)),)).program
    assert program.inputs[0].shape[0] == "batch"
    blocks = Quantize("int4", block=32).run(program, Context(board())).program
    more = torch.randint(0, 40, (7, 5))
    [ours] = runner(lowered(blocks, tmp_path))({program.inputs[0].name: more}).values()
    assert torch.equal(ours, blocks.run([more])[blocks.outputs[0].name])


def whole_numbers(rows: int, width: int, block: int) -> Tensor:
    """Rows of integers whose blocks reach 127 exactly, so that a block's scale is 1 and rounding changes nothing."""
    x = torch.randint(-126, 127, (rows, width), generator=torch.Generator().manual_seed(0)).float()
    x[:, ::block] = 127.0
    return x


@pytest.mark.parametrize("format", ["int4", "int2", "ternary"])
@pytest.mark.parametrize("block", [32, 128])
def test_the_integer_kernel_adds_whole_numbers_exactly(format: str, block: int, tmp_path: Path) -> None:
    """With every scale 1 the sums are whole and below 2^24: ONNX Runtime's are the integers themselves."""
    width, outputs = 512, 48
    low, high = {"int4": (-8, 8), "int2": (-2, 2), "ternary": (-1, 2)}[format]
    codes = torch.randint(low, high, (outputs, width), generator=torch.Generator().manual_seed(1))
    program = layer(width, outputs, (5,), bias=False)
    blocks = with_blocks(program, "linear", format=format, block=block)
    stored = blocks.tensors()
    stored["0.weight_packed"].copy_(pack_blocks(codes, BLOCK_FORMATS[format], block))
    stored["0.weight_scale"].fill_(1.0)
    x = whole_numbers(5, width, block)
    expected = x.long() @ codes.long().T
    [ours] = runner(lowered(blocks, tmp_path), threads=1)({program.inputs[0].name: x}).values()
    assert torch.equal(ours, expected.float())
    assert torch.equal(blocks.run([x])[program.outputs[0].name], expected.float())


@pytest.mark.parametrize("format", ["int4", "int2", "ternary"])
def test_with_scales_it_is_within_the_rounding_of_as_many_sums_as_blocks(format: str, tmp_path: Path) -> None:
    """|y − ŷ| ≤ (B + 2) · 2⁻²⁴ · Σ_b |s_x s_w acc_b|: each block's sum is whole, B of them are added in float32."""
    width, block = 1024, 64
    program = layer(width, 64, (8,), bias=False)
    blocks = with_blocks(program, "linear", format=format, block=block)
    stored, x = blocks.tensors(), program.example[0]
    fields = x.view(8, -1, block)
    scale = fields.abs().amax(-1, keepdim=True) / 127
    q = torch.round(fields / scale).double()
    codes = unpack_blocks(stored["0.weight_packed"], BLOCK_FORMATS[format], width).double().view(64, -1, block)
    sums = torch.einsum("rbk,obk->rob", q, codes)
    assert bool((sums == sums.round()).all())
    terms = sums * scale.double().squeeze(-1).unsqueeze(1) * stored["0.weight_scale"].double()
    bound = (width // block + 2) * 2.0**-24 * terms.abs().sum(-1)
    [ours] = runner(lowered(blocks, tmp_path), threads=1)({program.inputs[0].name: x}).values()
    assert bool(((ours.double() - terms.sum(-1)).abs() <= bound).all())
