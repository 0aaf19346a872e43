"""Fusion: which nodes make one kernel, and what each kernel reads and writes."""

from __future__ import annotations

import pytest
import torch
from boards import board
from quantized import dequantized, quantized, with_blocks, with_int8
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.concrete import concrete_values, op_name
from compressor.graph.contract import Context
from compressor.graph.edit import finish
from compressor.graph.kernels import Kernel, layer_of, schedule
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize


def kernels(program: Program, *, requantized: bool = True) -> tuple[Kernel, ...]:
    return schedule(program, concrete_values(program), requantized=requantized).kernels


def fused(program: Program, **options: bool) -> list[str]:
    return ["+".join(op_name(n).removeprefix("compressor::") for n in k.nodes) for k in kernels(program, **options)]


def captured(model: nn.Module, *inputs: Tensor) -> Program:
    return capture(model, inputs).program


class Block(nn.Module):
    """A residual block with a squeeze-and-excitation branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.bn1(self.conv1(x)))
        y = y * torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return functional.relu(self.bn2(self.conv2(y)) + x)


class Attend(nn.Module):
    """Pre-norm attention with an RMS norm spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        q, k, v = (t.unflatten(-1, (2, 8)).transpose(1, 2) for t in self.qkv(y).chunk(3, -1))
        scores = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        return x + self.out((scores @ v).transpose(1, 2).flatten(2))


class TwoConvs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.relu(self.b(functional.relu(self.a(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def convs() -> Program:
    return captured(TwoConvs().eval(), torch.randn(2, 3, 8, 8))


def test_a_residual_block_with_squeeze_and_excitation() -> None:
    assert fused(captured(Block().eval(), torch.randn(2, 8, 6, 6))) == [
        "conv2d+batch_norm+silu",
        "mean",
        "conv2d+relu",
        "conv2d+sigmoid",
        "mul",
        "conv2d+batch_norm+add+relu",
    ]


def test_attention_with_a_spelled_out_rms_norm() -> None:
    found = fused(captured(Attend().eval(), torch.randn(2, 5, 16)))
    assert found[:3] == ["pow+mean+add+rsqrt+mul+mul", "linear", "chunk+getitem+getitem+getitem"]
    assert found[-4:] == ["softmax", "matmul", "transpose", "linear+add"]
    assert "matmul+div" in found  # the scale is fused, and the transpose of the keys' last dimensions absorbed
    assert found.count("transpose") == 4  # q, k, v into heads, and the result back


def test_a_value_that_others_read_too_is_written_and_ends_its_kernel() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.fc(x)
            return y, torch.relu(y)

    assert fused(captured(Fork(), torch.randn(2, 4))) == ["linear", "relu"]


def test_what_depends_on_no_input_is_folded() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.weight / self.weight.norm(dim=1, keepdim=True))

    (kernel,) = kernels(captured(Normed(), torch.randn(2, 4)))
    assert sum(kernel.weights.values()) == 4 * 4 * 4


def test_bytes_of_a_fused_conv(convs: Program) -> None:
    first = kernels(convs)[0]
    assert sum(first.weights.values()) == 4 * (8 * 3 * 9 + 8)
    assert first.activation_bytes == 4 * (3 * 64 + 8 * 64)  # batch of 1: what it reads and, after the relu, writes
    assert layer_of(first.anchor) == "a"


def test_int8_between_convs(convs: Program) -> None:
    program = with_int8(convs, "conv2d", "conv2d_1")
    between = ["dequantize", "quantize"]  # by two passes over the graph; a third of them would be merged
    conv = "conv2d+relu+quantize"
    assert fused(program) == ["quantize", conv, *between, conv, "dequantize", "mean", "linear"]
    conv = next(k for k in kernels(program) if layer_of(k.anchor) == "a" and k.kind == "conv2d")
    assert conv.format == "int8"
    assert conv.activation_bytes == 3 * 64 + 8 * 64  # one byte an element
    assert sum(conv.weights.values()) == 8 * 3 * 9 + 4 * 8 + 5  # int8 weight, float bias, the output's scale and zero


def test_a_conv_whose_result_stays_float_is_int8_only_where_the_runtime_can(convs: Program) -> None:
    program = with_int8(convs, "conv2d_1", output=False)
    ours, tensorrt = (kernels(program, requantized=flag) for flag in (True, False))
    formats = [[k.format for k in found if k.macs and layer_of(k.anchor) == "b"] for found in (ours, tensorrt)]
    assert formats == [["fp32"], ["int8"]]


def test_patches_of_our_own_kernels_are_bytes_inside_the_product() -> None:
    model = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU())
    program = capture(model.eval(), (torch.randn(2, 32, 6, 5),)).program
    program = Quantize("int4", block=32).run(program, Context(board())).program
    values = concrete_values(program)
    portable, ours = (schedule(program, values, own=own).kernels for own in (False, True))
    names = [[op_name(node) for node in kernel.nodes] for kernel in portable]
    assert names == [["permute"], ["compressor::patches"], ["compressor::linear_blocks", "relu"], ["permute"]]
    assert [op_name(kernel.anchor) for kernel in ours] == ["permute", "compressor::linear_blocks", "permute"]
    pixels, product = 6 * 5, ours[1]
    assert product.workspace_bytes == pixels * 9 * 32
    assert sum(product.inputs.values()) == 4 * pixels * 32
    assert sum(portable[2].inputs.values()) == 4 * pixels * 9 * 32
    assert product.macs == portable[2].macs == pixels * 9 * 32 * 16


def test_a_linear_may_leave_its_result_in_float(convs: Program) -> None:
    program = with_int8(convs, "linear", output=False)
    assert [k.format for k in kernels(program) if k.kind == "linear"] == ["int8"]


def test_weights_alone_in_int8_are_dequantized_at_each_inference(convs: Program) -> None:
    program = with_int8(convs, "linear", weight_only=True)
    dequantize, linear = kernels(program)[-2:]
    assert (dequantize.kind, dequantize.output_bytes) == ("dequantize", 4 * 8 * 4)
    assert sum(dequantize.weights.values()) == 8 * 4 + 4 * (4 + 1)  # values, scales, zero points
    assert (linear.format, sum(linear.weights.values())) == ("fp32", 4 * (8 * 4 + 4))


def test_pointwise_between_dequantize_and_quantize_runs_on_integers(convs: Program) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.relu(x + y).neg()

    program = captured(Sum(), torch.randn(2, 6), torch.randn(2, 6)).copy()
    add, relu, neg = program.nodes()
    for index in (0, 1):
        add.update_arg(index, dequantized(program, quantized(program, add.args[index], add), add))
    neg.update_arg(0, dequantized(program, quantized(program, relu, neg), neg))
    program = finish(program)
    assert fused(program) == ["quantize", "quantize", "add+relu+quantize", "dequantize", "neg"]
    integer = kernels(program)[2]
    assert (integer.format, integer.activation_bytes) == ("int8", 6 + 6 + 6)


def test_half_precision_is_told_by_the_operands() -> None:
    program = captured(nn.Linear(4, 4).half(), torch.randn(2, 4).half())
    assert [k.format for k in kernels(program)] == ["fp16"]


def test_an_unknown_operator_is_counted_by_its_bytes() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(x).values

    (kernel,) = kernels(captured(Sorted(), torch.randn(2, 6)))
    assert (kernel.kind, kernel.macs, kernel.activation_bytes) == ("other", 0, 2 * 6 * 4)


def test_every_node_that_works_is_in_exactly_one_kernel() -> None:
    program = captured(Attend().eval(), torch.randn(2, 5, 16))
    names = [node for kernel in kernels(program) for node in kernel.nodes]
    assert len(names) == len(set(names))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 96), nn.Linear(96, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(functional.relu(self.one(x)))


@pytest.mark.parametrize(("integer", "arithmetic"), [(True, "int8"), (False, "fp32")])
def test_weights_in_blocks_are_linears_that_read_what_is_stored(integer: bool, arithmetic: str) -> None:
    program = with_blocks(captured(Residual(), torch.randn(2, 64)), "linear", format="int2", block=64, integer=integer)
    one, two = kernels(program)
    assert (one.kind, one.format, one.arithmetic, one.blocks) == ("linear", "int2", arithmetic, True)
    assert (two.kind, two.format, two.arithmetic, two.blocks) == ("linear", "fp32", "fp32", False)
    assert fused(program) == ["linear_blocks+relu", "linear+add"]
    assert one.macs == two.macs == 64 * 96
    assert sum(one.weights.values()) == 96 * (64 * 2 // 8 + 4) + 4 * 96
    assert layer_of(one.anchor) == "one"
