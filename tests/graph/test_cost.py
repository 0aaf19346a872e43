"""The roofline against published counts and times worked out by hand."""

from __future__ import annotations

import pytest
import torch
from boards import board
from classics import MobileNetV2, ResNet50
from quantized import with_blocks, with_int8
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.cost import Estimate, LatencyModel, Roofline
from compressor.graph.program import Program


class TwoLayers(nn.Module):
    """A conv that is bound by arithmetic and a linear that is bound by its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(16, 64, 3, padding=1), nn.Linear(64 * 64, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).flatten(1))


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(TwoLayers().eval(), (torch.randn(2, 16, 8, 8),)).program


def predict(program: Program, **options: int) -> Estimate:
    return Roofline().predict(program, board(), **options)


@pytest.mark.parametrize(("net", "millions"), [(MobileNetV2, 300.8), (ResNet50, 4089.2)])
def test_published_multiply_accumulates(net: type[nn.Module], millions: float) -> None:
    estimate = predict(capture(net().eval(), (torch.zeros(2, 3, 224, 224),)).program)
    assert estimate.macs == pytest.approx(millions * 1e6, rel=2e-4)
    assert len(estimate.kernels) == {MobileNetV2: 54, ResNet50: 56}[net]  # convs, pools and linears: all else fused


def test_times_by_hand(program: Program) -> None:
    conv, fc = predict(program).kernels
    macs = 64 * 64 * 16 * 9
    assert (conv.layer, conv.kind, conv.shape, conv.macs) == ("conv", "conv2d", (1, 64, 8, 8), macs)
    assert (conv.latency_ms, conv.roof) == (pytest.approx(1e3 * (macs / 1e9 + 1e-6)), "compute")
    moved = 4 * (4096 * 256 + 256 + 4096 + 256)
    assert (fc.weight_bytes + fc.activation_bytes, fc.roof) == (moved, "memory")
    assert fc.latency_ms == pytest.approx(1e3 * (moved / 1e9 + 1e-6))


def test_total_is_the_sum_and_uncalibrated(program: Program) -> None:
    model: LatencyModel = Roofline()
    estimate = model.predict(program, board())
    assert estimate.latency_ms == pytest.approx(sum(kernel.latency_ms for kernel in estimate.kernels))
    assert not estimate.calibrated


def test_work_grows_with_the_batch_and_weights_do_not(program: Program) -> None:
    one, eight = predict(program), predict(program, batch=8)
    assert eight.macs == 8 * one.macs
    assert eight.peak_activation_bytes == 8 * one.peak_activation_bytes
    assert [k.weight_bytes for k in eight.kernels] == [k.weight_bytes for k in one.kernels]


def test_one_thread_has_half_the_rate_of_two_on_a_cpu_alone(program: Program) -> None:
    def conv(provider: str, threads: int) -> float:
        return Roofline().predict(program, board(provider), threads=threads).kernels[0].latency_ms

    assert conv("CPUExecutionProvider", 1) == pytest.approx(2 * conv("CPUExecutionProvider", 2), rel=2e-3)
    assert conv("CUDAExecutionProvider", 1) == conv("CUDAExecutionProvider", 2)


def test_int8_runs_at_its_own_rate(program: Program) -> None:
    stored = with_int8(program, "conv2d", "linear")
    before, after = predict(program), predict(stored)
    assert after.macs == before.macs
    assert [k.format for k in after.kernels if k.macs] == ["int8", "int8"]
    assert after.latency_ms < 0.5 * before.latency_ms


def test_int8_weights_alone_are_predicted_slower_than_float(program: Program) -> None:
    stored = with_int8(program, "conv2d", "linear", weight_only=True)
    assert predict(stored).latency_ms > predict(program).latency_ms


def test_a_format_that_no_provider_runs_is_slower_not_faster() -> None:
    half = capture(TwoLayers().half().eval(), (torch.zeros(2, 16, 8, 8).half(),)).program
    rates = board().rates | {"fp16": board().rates["int8"]}
    native = Roofline().predict(half, board(formats=("fp32", "fp16"), rates=rates))
    emulated = Roofline().predict(half, board(formats=("fp32",), rates=rates))
    assert [k.format for k in native.kernels] == ["fp16", "fp16"]
    assert emulated.latency_ms > 3 * native.latency_ms
    assert emulated.kernels[1].latency_ms > 1e3 * 4096 * 256 * 4 / 1e9  # dearer than reading fp32 weights


def test_a_tiny_kernel_is_bound_by_its_overhead() -> None:
    program = capture(nn.Linear(2, 2), (torch.zeros(2, 2),)).program
    assert [kernel.roof for kernel in predict(program).kernels] == ["overhead"]


@pytest.mark.parametrize(("integer", "rate"), [(True, 4e9), (False, 1e9)])
def test_weights_in_blocks_by_hand(program: Program, integer: bool, rate: float) -> None:
    """A batch of 64 rows is bound by arithmetic; one row by the bytes of the weight as it is stored."""
    blocks = with_blocks(program, "linear", block=128, integer=integer)
    macs, weight = 4096 * 256, 256 * 32 * (128 // 2 + 4) + 4 * 256
    [_, many], [_, one] = predict(blocks, batch=64).kernels, predict(blocks).kernels
    assert (many.format, many.kind, many.weight_bytes, many.macs) == ("int4", "linear", weight, 64 * macs)
    assert many.latency_ms == pytest.approx(1e3 * (64 * macs / rate + 1e-6))
    seconds = max(macs / rate, (weight + 4 * (4096 + 256)) / 1e9)
    assert one.latency_ms == pytest.approx(1e3 * (seconds + 1e-6))


def test_without_integer_rates_blocks_still_move_as_they_are_stored(program: Program) -> None:
    float_only = board(formats=("fp32",))
    blocks = with_blocks(program, "linear", block=128)
    fc = Roofline().predict(blocks, float_only).kernels[1]
    macs, moved = 4096 * 256, 256 * 32 * 68 + 4 * 256 + 4 * (4096 + 256)
    assert fc.latency_ms == pytest.approx(1e3 * (max(macs, moved) / 1e9 + 1e-6))


def test_times_are_of_the_kernels_that_compute_any_of_a_groups_nodes() -> None:
    program = capture(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)), (torch.randn(2, 8),)).program
    estimate = Roofline().predict(program, board())
    names = [node.name for node in program.graph.nodes if node.op == "call_function"]
    found = estimate.times({"all": names, "none": ["missing"], "first": names[:1]})
    assert found.keys() == {"all", "first"}
    assert found["all"] == pytest.approx(sum(kernel.latency_ms for kernel in estimate.kernels))
    assert found["first"] < found["all"]
