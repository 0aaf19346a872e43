"""Fake quantization: float tensors rounded as the integers will be, with gradients that pass the rounding.

    ŵ = clamp(round(w / s), low, high) · s,   s = s₀ · e^θ        learned steps
    ŵ = Q · mean|w|,   Q = clamp(round(w / (mean|w| + 1e-5)), −1, 1)        BitNet b1.58's ternary (arXiv:2402.17764)
    x̂ in the range [l · e^α, h · e^β]        integer activations with a scale for all of a tensor
    x̂ in int8, its scale the largest |x| of each row's block / 127        as kernels round beside blocks of few bits

Straight-through (Bengio et al., 2013, arXiv:1308.3432): ∂x̂/∂x is 1 within the range and 0 beyond it; weights pass
theirs everywhere where the format is ternary, since most lie at its ends and would never come back. The step's
gradient is that of learned step size quantization, ∂ŵ/∂s = round(w/s) − w/s, or the code where it is clipped, times
1/√(N · high) (Esser et al., 2020, arXiv:1902.08153). It is learned as a share, s₀ · e^θ, so that Adam, whose steps are
of one size whatever the gradient's, changes small and large steps alike and none gets to zero.

While `training` what comes out is w + blend · (ŵ − w), so that a network is led from its floats to its integers;
otherwise always ŵ. Activations' ranges may follow a running statistic while blend < 1, and freeze then (AQT).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import compressor.quant.fade
import compressor.quant.slots  # noqa: F401  registers its operator
from compressor.quant.blocks import round_by_block
from compressor.quant.formats import FORMATS, Granularity, QParams, choose_qparams, cut, spread
from compressor.quant.ternary import Ternary, dequantize_ternary, quantize_ternary

__all__ = [
    "BLENDING", "TRAINABLE", "absmean", "fake_absmean", "fake_bias", "fake_range", "fake_rows", "fake_weight",
    "learned", "watch_range",
]  # fmt: skip

MOMENTUM = 0.1  # a batch's share in the running range
_TERNARY = 1  # the largest code of a format whose weights lie mostly at its ends


def learned(initial: Tensor, gain: Tensor) -> Tensor:
    """What was learned: initial · e^gain, in the precision of what it started from."""
    return initial * torch.exp(gain)


@torch.library.custom_op("compressor::fake_weight", mutates_args=())
def fake_weight(
    w: Tensor, scale: Tensor, gain: Tensor, blend: Tensor, low: int, high: int, axis: int, block: int, training: bool
) -> Tensor:
    """w float, any shape; scale and gain one (axis −1), by index of `axis`, or (block > 0) by run along it → like w."""
    step = _steps(w, scale, gain, axis, block)
    rounded = torch.clamp(torch.round(w / step), low, high) * step
    return torch.lerp(w, rounded, blend) if training else rounded


@fake_weight.register_fake
def _(
    w: Tensor, scale: Tensor, gain: Tensor, blend: Tensor, low: int, high: int, axis: int, block: int, training: bool
) -> Tensor:
    return torch.empty_like(w)


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    w, scale, gain, blend, *ctx.numbers, ctx.training = inputs
    ctx.save_for_backward(w, scale, gain, blend.clone())


def _weight_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    w, scale, gain, blend = ctx.saved_tensors
    low, high, axis, block = ctx.numbers
    blend = blend if ctx.training else torch.ones_like(blend)
    step = _steps(w, scale, gain, axis, block)
    exact = w / step
    codes = torch.round(exact)
    inside = (codes >= low) & (codes <= high)
    slope = torch.clamp(codes, low, high) - exact * inside
    share = blend / math.sqrt(max(high, 1) * w.numel() / gain.numel())
    by_step = _sums(gradient * slope * step, axis, block) * share
    by_weight = gradient if high <= _TERNARY else torch.lerp(gradient, gradient * inside, blend)
    return by_weight, None, by_step, None, None, None, None, None, None


fake_weight.register_autograd(_weight_gradient, setup_context=_keep_weight)


@torch.library.custom_op("compressor::fake_absmean", mutates_args=())
def fake_absmean(w: Tensor, blend: Tensor, axis: int, block: int, training: bool) -> Tensor:
    """A matrix w (N, K) in ternary codes: one scale for all of it (axis −1), by row (0), or by `block` of a row (1)."""
    if not bool(torch.isfinite(w).all()):  # a run that diverged is judged, not ended
        return torch.full_like(w, math.nan)
    rounded = dequantize_ternary(absmean(w, axis, block)).to(w.dtype)
    return torch.lerp(w, rounded, blend) if training else rounded


@fake_absmean.register_fake
def _(w: Tensor, blend: Tensor, axis: int, block: int, training: bool) -> Tensor:
    return torch.empty_like(w)


fake_absmean.register_autograd(lambda ctx, gradient: (gradient, None, None, None, None))


def absmean(w: Tensor, axis: int, block: int) -> Ternary:
    """The codes and scales that `fake_absmean` stands for."""
    return quantize_ternary(w, "absmean", Granularity(None if axis < 0 else axis, block or None))


@torch.library.custom_op("compressor::fake_range", mutates_args=())
def fake_range(x: Tensor, bounds: Tensor, gain: Tensor, format: str) -> Tensor:
    """x float, any shape; bounds (2), float64: an integer format's low and high; gain (2): their logarithmic change."""
    qparams, known = _qparams(bounds, gain, format), FORMATS[format]
    codes = torch.clamp(torch.round(x / qparams.scale) + qparams.zero_point, known.low, known.high)  # NaN stays NaN
    return ((codes - qparams.zero_point) * qparams.scale).to(x.dtype)


@fake_range.register_fake
def _(x: Tensor, bounds: Tensor, gain: Tensor, format: str) -> Tensor:
    return torch.empty_like(x)


def _keep_range(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bounds, gain, ctx.format = inputs
    ctx.save_for_backward(x, bounds.clone(), gain)


def _range_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, bounds, gain = ctx.saved_tensors
    format, qparams = FORMATS[ctx.format], _qparams(bounds, gain, ctx.format)
    exact = x / qparams.scale
    codes = torch.round(exact) + qparams.zero_point
    below, above = codes < format.low, codes > format.high
    inside = ~(below | above)
    by_input = gradient * inside
    if not ctx.needs_input_grad[2]:
        return by_input, None, None, None
    rest = (by_input * (torch.round(exact) - exact)).sum()
    under, over = (gradient * below).sum(), (gradient * above).sum()
    low, high = learned(bounds, gain).unbind()
    if not format.symmetric:
        levels = format.high - format.low
        slopes = torch.stack([under - rest / levels, over + rest / levels])
    else:
        levels = format.high
        slope = rest / levels + over - under
        slopes = torch.stack([-slope * (high < -low), slope * (high >= -low)])
    by_gain = slopes * learned(bounds, gain) / math.sqrt(x.numel() * levels)
    return by_input, None, by_gain.to(gain.dtype), None


fake_range.register_autograd(_range_gradient, setup_context=_keep_range)


@torch.library.custom_op("compressor::fake_bias", mutates_args=())
def fake_bias(bias: Tensor, scale: Tensor, gain: Tensor, bounds: Tensor, range_gain: Tensor, format: str) -> Tensor:
    """bias (N) counted in the unit of the accumulator: the weight's step (N) times that of the input's range."""
    unit = learned(scale, gain) * _qparams(bounds, range_gain, format).scale
    return (torch.round(bias.double() / unit.double()).float() * unit).to(bias.dtype)


@fake_bias.register_fake
def _(bias: Tensor, scale: Tensor, gain: Tensor, bounds: Tensor, range_gain: Tensor, format: str) -> Tensor:
    return torch.empty_like(bias)


fake_bias.register_autograd(lambda ctx, gradient: (gradient, None, None, None, None, None))


@torch.library.custom_op("compressor::fake_rows", mutates_args=())
def fake_rows(x: Tensor, block: int) -> Tensor:
    """x (…, K) float → as int8 codes with a scale for each row's `block` values say it."""
    return round_by_block(x, block).to(x.dtype)


@fake_rows.register_fake
def _(x: Tensor, block: int) -> Tensor:
    return torch.empty_like(x)


fake_rows.register_autograd(lambda ctx, gradient: (gradient, None))


@torch.library.custom_op("compressor::watch_range", mutates_args=("bounds",))
def watch_range(bounds: Tensor, x: Tensor, blend: Tensor, training: bool) -> None:
    """Let bounds (2) follow the least and the largest value of x, zero included, while blend < 1."""
    if training and float(blend) < 1:
        low, high = torch.aminmax(x.detach())
        bounds.lerp_(torch.stack([low.clamp(max=0), high.clamp(min=0)]).to(bounds.dtype), MOMENTUM)


@watch_range.register_fake
def _(bounds: Tensor, x: Tensor, blend: Tensor, training: bool) -> None:
    return None


_OPS = torch.ops.compressor
BLENDING = (_OPS.fake_weight.default, _OPS.fake_absmean.default, _OPS.watch_range.default, _OPS.fade.default)
TRAINABLE = (
    *BLENDING, _OPS.expand_slots.default, _OPS.fake_bias.default, _OPS.fake_range.default, _OPS.fake_rows.default,
)  # fmt: skip


def _qparams(bounds: Tensor, gain: Tensor, format: str) -> QParams:
    low, high = found = learned(bounds, gain)
    if not bool(torch.isfinite(found).all()):
        nothing = torch.full((), math.nan, device=found.device)
        return QParams(nothing, nothing, FORMATS[format])
    return choose_qparams((low, high), FORMATS[format])


def _steps(w: Tensor, scale: Tensor, gain: Tensor, axis: int, block: int) -> Tensor:
    return spread(learned(scale, gain), w, Granularity(axis if axis >= 0 else None, block or None))


def _sums(value: Tensor, axis: int, block: int) -> Tensor:
    """The sum over all that shares a step."""
    if axis < 0:
        return value.sum()
    if not block:
        return value.sum([dim for dim in range(value.dim()) if dim != axis])
    return cut(value.movedim(axis, -1), block).sum(-1).movedim(-1, axis)
