"""Quantize–dequantize pairs: one a value, chained across transparent operators, inside what clips allow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from torch import Tensor, fx, nn
from torch.nn import functional

from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize

QUANTIZE = torch.ops.compressor.quantize.default
DEQUANTIZE = torch.ops.compressor.dequantize.default


class Net(nn.Module):
    """A clip, a pool, a residual sum, a concat, and a flatten before a linear; one value that two layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.max_pool2d(functional.relu6(self.stem(x)), 2)
        h = torch.cat([functional.relu(self.left(h) + h), self.right(h)], 1)
        return self.head(functional.max_pool2d(h, 2).flatten(1))


def run() -> tuple[Program, Program]:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 16, 16)
    program = capture(Net(), (x[:2],)).program
    result = Quantize(max_error=9.0).run(program, Context(board(), calibration=[{"x": x}]))
    return program, result.program


def pairs(program: Program) -> list[fx.Node]:
    return [node for node in program.nodes() if node.target is QUANTIZE]


def test_every_value_has_one_pair_and_all_its_readers_read_it() -> None:
    _, after = run()
    sources = [node.args[0] for node in pairs(after)]
    assert len(sources) == len(set(sources))
    for node in pairs(after):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        assert set(source.users) == {node}
        assert [user.target for user in node.users] == [DEQUANTIZE]


def test_transparent_operators_repeat_the_scale_before_them() -> None:
    _, after = run()
    pooled = [node for node in pairs(after) if "max_pool2d" in node.args[0].name or "flatten" in node.args[0].name]  # type: ignore[union-attr]
    assert len(pooled) == 3
    for node in pooled:
        dequantized = node.args[0].args[0]  # type: ignore[union-attr]
        assert dequantized.target is DEQUANTIZE  # type: ignore[union-attr]
        assert node.args[1].target == dequantized.args[1].target  # type: ignore[union-attr]


def test_sums_and_concats_are_quantized_after_their_relu() -> None:
    _, after = run()
    names = {node.args[0].name for node in pairs(after)}  # type: ignore[union-attr]
    assert {"relu", "relu6", "cat"} <= names
    assert "add" not in names


def test_the_result_is_close() -> None:
    before, after = run()
    ours, theirs = (next(iter(p.run().values())) for p in (after, before))
    assert 0.0 < float((ours - theirs).norm() / theirs.norm()) < 0.1


def test_codes_stay_inside_a_clips_bounds() -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return functional.hardtanh(self.conv(x), -3.0, 7.0)

    program = capture(Clipped(), (torch.randn(2, 3, 4, 4),)).program
    setting = {"format": "int8", "activation": "uint8", "low": -9.0, "high": 9.0, "out_low": -5.0, "out_high": 8.0}
    after = Quantize(sites={"conv": setting}).run(program, Context(board())).program
    tensors = after.tensors()
    scale, zero = tensors["conv.output_scale"], tensors["conv.output_zero_point"].float()
    assert float((0 - zero) * scale) > -3.04
    assert 6.95 < float((255 - zero) * scale) <= 7.04  # one step is 0.039; the rounded zero point shifts both ends


def test_relu6_is_found_redundant() -> None:
    """scale · 255 must not exceed 6 in float32, or the runtime keeps the clip and with it a float convolution."""
    for high in (6.0, 5.999, 8.0):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6())
        program = capture(model, (torch.randn(2, 3, 4, 4),)).program
        setting = {"format": "int8", "activation": "uint8", "low": -9.0, "high": 9.0, "out_low": 0.0, "out_high": high}
        scale = Quantize(sites={"0": setting}).run(program, Context(board())).program.tensors()["0.output_scale"]
        assert 5.99 < float(scale * 255) <= 6.0


def test_a_linears_output_and_bias_stay_float() -> None:
    program = capture(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)), (torch.randn(2, 3, 8),)).program
    result = Quantize(max_error=9.0).run(program, Context(board(), calibration=[{"input": torch.randn(4, 3, 8)}]))
    assert len(pairs(result.program)) == 2
    linears = [node for node in result.program.nodes() if node.target is torch.ops.aten.linear.default]
    assert [len(node.args) for node in linears] == [3, 3]
    assert [str(next(iter(node.users)).target) for node in linears] == ["aten.gelu.default", "output"]


class Twice(nn.Module):
    """One convolution called twice, a ReLU after the first call only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(torch.relu(self.conv(x))), self.conv(y)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_calls_of_one_layer_keep_their_own_clips_and_ranges_that_fit_all(spread: float) -> None:
    torch.manual_seed(0)
    batch = {"x": torch.randn(4, 8, 6, 6), "y": spread * torch.randn(4, 8, 6, 6)}
    program = capture(Twice(), (batch["x"], batch["y"])).program
    result = Quantize().run(program, Context(board(), calibration=[batch]))
    for name, value in program.run(batch).items():
        error = (result.program.run(batch)[name] - value).norm() / value.norm()
        assert error < 0.06, f"{name}: {error:.3f}"
    assert (len(result.skipped) == 0) == (spread == 1.0)  # one range cannot serve both: the layer stays float


class Between(nn.Module):
    """The middle convolution stays float, between two that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


def test_a_layer_that_stays_float_reads_the_value_before_its_pair_and_stays_so_in_the_runtime(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Between()
    with torch.no_grad():
        model.middle.weight[0] *= 50  # rounded per tensor, the other channels would vanish
    x = torch.randn(4, 8, 6, 6)
    program = capture(model, (x,)).program
    context = Context(board(), calibration=[{"x": x}])
    settings = dict(Quantize(max_error=9.0).run(program, context).settings)
    settings["middle"] = {"format": "fp32"}
    result = Quantize(sites=settings).run(program, context).program
    (middle,) = (node for node in result.nodes() if "middle.weight" in str([a.target for a in node.all_input_nodes]))
    assert "dequantize" not in str(middle.args[0].target)  # type: ignore[union-attr]
    to_onnx(result, board()).save(tmp_path / "model.onnx")
    assert check(result, tmp_path / "model.onnx", [{"x": x}]).error < 1e-5


def integers(program: Program, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The codes of x (N, …) less their zero point, and the int32 bias, as double-precision whole numbers."""
    stored = program.tensors()
    q = torch.round(x / stored[f"{name}.input_scale"]) + stored[f"{name}.input_zero_point"]
    return q.clamp(0, 255).double() - stored[f"{name}.input_zero_point"], stored[f"{name}.bias_int32"].double()


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)])
def test_a_convolution_is_bit_for_bit_what_integers_say(layer: nn.Conv2d, tmp_path: Path) -> None:
    """y = clamp(round(acc · (s_x s_w / s_y)) + z_y), acc whole: ONNX Runtime, the program, and neither."""
    x = torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    before = capture(nn.Sequential(layer), (x,)).program
    data = [{before.inputs[0].name: x}]
    program = Quantize(max_error=9.0).run(before, Context(board(), calibration=data)).program
    stored = program.tensors()
    q, bias = integers(program, "0", x)
    total = functional.conv2d(q, stored["0.weight"].double(), bias, padding=layer.padding, groups=layer.groups)
    scale = stored["0.input_scale"] * stored["0.weight_scale"] / stored["0.output_scale"]
    codes = torch.round(total.float() * scale.view(-1, 1, 1)) + stored["0.output_zero_point"]
    expected = (codes.clamp(0, 255) - stored["0.output_zero_point"]) * stored["0.output_scale"]
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    [ours] = runner(tmp_path / "model.onnx")({before.inputs[0].name: x}).values()
    assert torch.equal(ours, expected)
    [simulated] = program.run([x]).values()
    assert torch.equal(simulated, expected)


def test_a_linear_layer_is_its_whole_sum_times_one_scale(tmp_path: Path) -> None:
    """Float only at the end: acc · (s_x s_w), one rounding apart from the program's many."""
    x = torch.randn(16, 96, generator=torch.Generator().manual_seed(0))
    before = capture(nn.Sequential(nn.Linear(96, 40)), (x,)).program
    data = [{before.inputs[0].name: x}]
    program = Quantize(max_error=9.0).run(before, Context(board(), calibration=data)).program
    stored = program.tensors()
    q, bias = integers(program, "0", x)
    total = q @ stored["0.weight"].double().T + bias
    assert bool((total == total.round()).all())
    expected = total.float() * (stored["0.input_scale"] * stored["0.weight_scale"])
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    [ours] = runner(tmp_path / "model.onnx")({before.inputs[0].name: x}).values()
    unit = torch.finfo(torch.float32).eps * (expected.abs() + float(stored["0.input_scale"]))
    assert bool(((ours - expected).abs() <= unit).all())
    [simulated] = program.run([x]).values()
    assert bool(((simulated - expected).abs() <= 96 * unit.max()).all())
