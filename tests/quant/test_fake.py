"""Fake quantization: forward what the integers say, backward what the papers say, and blends in between."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compressor.quant import fake
from compressor.quant.blocks import INT4, dequantize_blocks, quantize_blocks, round_by_block
from compressor.quant.formats import FORMATS, INT8, Granularity, choose_qparams, dequantize, quantize
from compressor.quant.ternary import dequantize_ternary, quantize_ternary

OPS = torch.ops.compressor
ONE = torch.ones(())


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def gradients(output: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, output.numel()).view_as(output)
    return torch.autograd.grad((output * weight).sum(), leaves)


def test_a_weight_by_channel_is_what_its_codes_say() -> None:
    weight = leaf(6, 3, 3, 3)
    qparams = choose_qparams(weight, INT8, Granularity(0))
    zero = torch.zeros(6)
    rounded = OPS.fake_weight(weight, qparams.scale, zero, ONE, -127, 127, 0, 0, False)
    assert torch.equal(rounded, dequantize(quantize(weight, qparams), qparams))
    gain = torch.full((6,), 0.1)
    wider = OPS.fake_weight(weight, qparams.scale, gain, ONE, -127, 127, 0, 0, False)
    step = fake.learned(qparams.scale, gain)
    assert torch.equal(wider, torch.round(weight / step.view(6, 1, 1, 1)) * step.view(6, 1, 1, 1))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_in_blocks_is_what_its_codes_say_along_either_axis(axis: int) -> None:
    matrix = leaf(5, 80).detach()
    blocks = quantize_blocks(matrix, INT4, 32)
    given, scales = (matrix, blocks.scales) if axis == 1 else (matrix.T, blocks.scales.T)
    rounded = OPS.fake_weight(given, scales, torch.zeros_like(scales), ONE, -8, 7, axis, 32, False)
    assert torch.equal(rounded if axis == 1 else rounded.T, dequantize_blocks(blocks))


def test_the_blend_leads_from_the_floats_to_the_codes_and_counts_only_in_training() -> None:
    weight, scale, gain = leaf(4, 8), torch.full((4,), 0.3), torch.zeros(4)
    half = [OPS.fake_weight(weight, scale, gain, torch.tensor(b), -8, 7, 0, 0, True) for b in (0.0, 0.5, 1.0)]
    rounded = OPS.fake_weight(weight, scale, gain, torch.zeros(()), -8, 7, 0, 0, False)
    assert torch.equal(half[0], weight)
    assert torch.equal(half[2], rounded)
    torch.testing.assert_close(half[1], (weight + rounded) / 2)


def test_a_step_learns_by_the_formula_of_its_paper() -> None:
    """Against autograd through the formula with its roundings passed straight."""
    weight, gain, scale = leaf(4, 64), leaf(4, 2, seed=1), torch.rand(4, 2) * 0.2 + 0.1

    def passed(x: Tensor) -> Tensor:
        return x + (torch.round(x) - x).detach()

    step = (scale * torch.exp(gain)).repeat_interleave(32, 1)
    exact = torch.clamp(passed(weight / step), -8, 7) * step
    ours = OPS.fake_weight(weight, scale, gain, ONE, -8, 7, 1, 32, False)
    torch.testing.assert_close(ours, exact)
    by_weight, by_gain = gradients(ours, weight, gain)
    expected_weight, expected_gain = gradients(exact, weight, gain)
    torch.testing.assert_close(by_weight, expected_weight)
    torch.testing.assert_close(by_gain, expected_gain / math.sqrt(32 * 7))


def test_a_ternary_weight_passes_its_gradient_beyond_its_codes() -> None:
    weight, scale = leaf(3, 32), torch.full((3,), 0.4)
    ours = OPS.fake_weight(weight, scale, torch.zeros(3), ONE, -1, 1, 0, 0, False)
    assert set((ours / 0.4).round().flatten().tolist()) == {-1.0, 0.0, 1.0}
    [by_weight] = gradients(ours, weight)
    assert torch.equal(by_weight.flatten(), torch.linspace(-1, 1, 96))


@pytest.mark.parametrize(("axis", "block"), [(-1, 0), (0, 0), (1, 32)])
def test_the_mean_of_bitnet_by_tensor_row_and_block(axis: int, block: int) -> None:
    weight = leaf(6, 80)
    ours = OPS.fake_absmean(weight, ONE, axis, block, False)
    granularity = Granularity(None if axis < 0 else axis, block or None)
    assert torch.equal(ours, dequantize_ternary(quantize_ternary(weight, "absmean", granularity)))
    assert torch.equal(fake.absmean(weight, axis, block).codes, (ours.sign()).to(torch.int8))
    assert torch.equal(gradients(ours, weight)[0].flatten(), torch.linspace(-1, 1, 480))


@pytest.mark.parametrize("name", ["uint8", "int8-affine", "int8"])
def test_a_range_rounds_as_its_format_and_learns_its_ends(name: str) -> None:
    format, x, gain = FORMATS[name], leaf(500), torch.zeros(2, requires_grad=True)
    bounds = torch.tensor([-100.0, 155.0]) / 128  # a step of 1/128, and a zero point that needs no rounding
    low, high = fake.learned(bounds, gain).tolist()
    qparams = choose_qparams((low, high), format)
    ours = OPS.fake_range(x, bounds, gain, name)
    assert torch.equal(ours, dequantize(quantize(x, qparams), qparams))
    by_x, by_gain = gradients(ours, x, gain)
    inside = (ours > ours.min()) & (ours < ours.max())
    assert torch.equal(by_x[inside], torch.linspace(-1, 1, 500)[inside])
    assert bool((by_x[(x < 2 * low) | (x > 2 * high)] == 0).all())
    expected = _by_hand(x, bounds, gain, format.low, format.high, symmetric=format.symmetric)
    levels = 127 if format.symmetric else 255
    torch.testing.assert_close(by_gain, gradients(expected, gain)[0] / math.sqrt(500 * levels), rtol=1e-3, atol=1e-5)


def _by_hand(x: Tensor, bounds: Tensor, gain: Tensor, first: float, last: float, *, symmetric: bool) -> Tensor:
    """Autograd's way: roundings passed straight, the zero point's too."""
    low, high = (bounds * torch.exp(gain)).unbind()
    step = torch.maximum(-low, high) / last if symmetric else (high - low) / (last - first)
    zero = torch.zeros(()) if symmetric else first - low / step
    zero = zero + (torch.round(zero) - zero).detach()
    codes = x.detach() / step
    codes = codes + (torch.round(codes) - codes).detach() + zero
    return (torch.clamp(codes, first, last) - zero) * step


def test_rows_are_rounded_as_kernels_do_and_pass_their_gradient() -> None:
    x = leaf(2, 3, 70)
    ours = OPS.fake_rows(x, 32)
    assert torch.equal(ours, round_by_block(x, 32))
    assert torch.equal(gradients(ours, x)[0].flatten(), torch.linspace(-1, 1, 420))


def test_a_bias_is_counted_in_the_unit_of_its_accumulator() -> None:
    bias, scale, zero = leaf(4), torch.tensor([0.01, 0.02, 0.5, 1.0]), torch.zeros(2)
    bounds = torch.tensor([0.0, 255.0 * 0.25])
    ours = OPS.fake_bias(bias, scale, torch.zeros(4), bounds, zero, "uint8")
    unit = scale * choose_qparams((0.0, 255.0 * 0.25), FORMATS["uint8"]).scale
    assert torch.equal(ours, torch.round(bias / unit) * unit)
    assert torch.equal(gradients(ours, bias)[0], torch.linspace(-1, 1, 4))


def test_a_watched_range_settles_and_freezes() -> None:
    bounds, x = torch.tensor([0.0, 1.0]), torch.tensor([-2.0, 5.0])
    OPS.watch_range(bounds, x, torch.zeros(()), False)
    assert bounds.tolist() == [0.0, 1.0]
    for _ in range(200):
        OPS.watch_range(bounds, x, torch.tensor(0.5), True)
    torch.testing.assert_close(bounds, x)
    OPS.watch_range(bounds, 10 * x, ONE, True)
    torch.testing.assert_close(bounds, x)
    OPS.watch_range(bounds, x.abs(), torch.zeros(()), True)
    assert bounds[0] > -2.0  # zero is always in it


def test_what_is_not_a_number_stays_visible() -> None:
    bad = torch.tensor([[math.nan, 1.0]])
    zero = torch.zeros(1)
    results: list[Callable[[], Tensor]] = [
        lambda: OPS.fake_weight(bad, torch.ones(1), zero, ONE, -8, 7, 0, 0, False),
        lambda: OPS.fake_absmean(bad, ONE, 0, 0, False),
        lambda: OPS.fake_range(bad, torch.tensor([-1.0, 1.0]), torch.zeros(2), "uint8"),
        lambda: OPS.fake_range(torch.ones(2), torch.tensor([-1.0, math.nan]), torch.zeros(2), "uint8"),
    ]
    assert all(bool(result().isnan().any()) for result in results)


def test_the_operators_are_known_to_be_trainable() -> None:
    names = {str(op).split(".")[1] for op in fake.TRAINABLE}
    assert names == {
        "fake_weight",
        "fake_absmean",
        "fake_bias",
        "fake_range",
        "fake_rows",
        "watch_range",
        "fade",
        "expand_slots",
    }
    assert {op for op in fake.TRAINABLE if any(a.name == "training" for a in op._schema.arguments)} == set(
        fake.BLENDING
    )
