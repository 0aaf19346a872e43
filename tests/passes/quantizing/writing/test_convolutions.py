"""Convolutions as products: the same numbers, in any number of dimensions, and no permutation twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.edit import finish
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.writing.convolutions import unfit_convolution
from compressor.quant.blocks import BLOCK_FORMATS, dequantize_blocks, quantize_blocks, round_by_block

CONTEXT = Context(board())
aten = torch.ops.aten


def in_blocks(model: nn.Module, x: Tensor) -> Program:
    torch.manual_seed(0)
    return Quantize("int4", block=32).run(capture(model, (x,)).program, CONTEXT).program


def permutations(program: Program) -> int:
    return sum(node.target is aten.permute.default for node in program.nodes())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(40, 8, 1), (2, 40, 7)),
        (nn.Conv2d(40, 8, 1, bias=False), (2, 40, 5, 7)),
        (nn.Conv2d(40, 8, 1, stride=(2, 3)), (2, 40, 5, 7)),
        (nn.Conv2d(40, 8, 1, padding="same"), (1, 40, 4, 4)),
        (nn.Conv3d(32, 8, 1, stride=2), (1, 32, 4, 3, 5)),
        (nn.Conv1d(32, 8, 3, padding=1), (2, 32, 7)),
        (nn.Conv2d(64, 8, 3, padding=1), (2, 64, 5, 7)),
        (nn.Conv2d(32, 8, (2, 4), stride=(1, 2), padding="valid", dilation=(2, 1)), (2, 32, 7, 8)),
        (nn.Conv2d(32, 8, (2, 3), padding="same"), (1, 32, 4, 5)),
        (nn.Conv2d(32, 8, 1, padding=1), (1, 32, 3, 4)),
        (nn.Conv3d(32, 8, (1, 3, 2), padding=(0, 1, 0)), (1, 32, 4, 3, 5)),
    ],
)
def test_it_is_the_convolution_with_the_weights_that_the_codes_stand_for(
    layer: nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = torch.randn(*shape)
    even = board(rates={"fp32": board().rates["fp32"], "int8": board().rates["fp32"]})  # activations stay float
    before = capture(nn.Sequential(layer), (x,)).program
    program = Quantize("int4", block=32).run(before, Context(even)).program
    weight = layer.weight.detach()
    last = weight.movedim(1, -1)
    codes = quantize_blocks(last.flatten(1), BLOCK_FORMATS["int4"], 32)
    with torch.no_grad():
        layer.weight.copy_(dequantize_blocks(codes).view_as(last).movedim(-1, 1))
        expected = layer(x)
    [found] = program.run([x]).values()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    to_onnx(program, even).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-5


def test_layers_that_follow_each_other_move_channels_once() -> None:
    model = nn.Sequential(nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.SiLU(), nn.Conv2d(64, 8, 1))
    assert permutations(in_blocks(model, torch.randn(1, 32, 4, 4))) == 2


def test_a_residual_between_them_stays_channels_last() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = (nn.Conv2d(32, 32, 1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x) + self.second(x)))

    model, x = Residual(), torch.randn(1, 32, 4, 4)
    program = in_blocks(model, x)
    assert permutations(program) == 3, "two products read the input"
    [before], [after] = capture(model, (x,)).program.run().values(), program.run([x]).values()
    assert float((after - before).norm() / before.norm()) < 0.2


def test_a_permutation_of_the_model_itself_cancels_and_views_still_work() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(32, 64, 1), nn.Linear(64 * 16, 8)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.linear(y.view(len(x), -1)) + y.permute(0, 2, 3, 1).sum((1, 2))[:, :8]

    model, x = Tokens(), torch.randn(2, 32, 4, 4)
    program = in_blocks(model, x)
    assert permutations(program) == 2, "to rows, and back for the view alone"
    [before], [after] = capture(model, (x,)).program.run().values(), program.run([x]).values()
    assert float((after - before).norm() / before.norm()) < 0.2


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(32, 32, 3), ""),
        (nn.Conv2d(40, 32, 3), "this is a convolution of 3×3, and its 40 channels are no whole blocks of 32"),
        (nn.Conv2d(32, 32, 1, groups=4), "this is a convolution of 4 groups"),
        (nn.Conv2d(32, 32, 3, groups=32), "this is a depthwise convolution"),
        (
            nn.Conv2d(40, 32, 1, padding=1),
            "this is a convolution of 1×1, and its 40 channels are no whole blocks of 32",
        ),
        (nn.Conv2d(40, 32, 1), ""),
    ],
)
def test_what_is_no_product(layer: nn.Conv2d, reason: str) -> None:
    program = capture(nn.Sequential(layer), (torch.randn(1, layer.in_channels, 4, 4),)).program
    [found], _ = find_layers(program)
    assert unfit_convolution(program, found, 32) == reason


def test_a_convolution_without_a_batch_is_none() -> None:
    program = finish(capture(nn.Sequential(nn.Conv2d(32, 8, 1)), (torch.randn(32, 4, 4),)).program.copy())
    [found], _ = find_layers(program)
    assert "without a batch" in unfit_convolution(program, found, 32)


def test_pixels_are_rounded_once_for_all_windows_that_meet_them(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Conv2d(64, 40, 3, padding=1, stride=2), nn.ReLU()), torch.randn(2, 64, 6, 7)
    program = in_blocks(model, x)
    [call] = [n for n in program.nodes() if n.target is torch.ops.compressor.linear_blocks.default]
    assert call.args[-1], "activations in int8"
    rounded = round_by_block(x.movedim(1, -1), 32).movedim(-1, 1)
    last = model[0].weight.detach().movedim(1, -1)
    weight = dequantize_blocks(quantize_blocks(last.flatten(1), BLOCK_FORMATS["int4"], 32)).view_as(last).movedim(-1, 1)
    wanted = torch.relu(torch.nn.functional.conv2d(rounded, weight, model[0].bias, 2, 1))
    [found] = program.run([x]).values()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-3


def test_three_by_threes_that_follow_each_other_move_channels_once() -> None:
    model = nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())
    assert permutations(in_blocks(model, torch.randn(1, 32, 6, 6))) == 2
