"""Layers of floats, depthwise ones of codes, and attention inside a relax module, as calls of kernels.

    y (n, H′, W′, N) = act(x (n, H, W, C) ⊛ w + b + r)    →    pad(x), call_tir(convolution or depthwise, …)
    y (…, N) = act(x (…, K) · wᵀ + b + r)                 →    call_tir(convolution of a single place, …)

Weights are constants of the module in the order in which kernels read them. Layers of one shape share their function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tvm import relax

from compressor.export.kernels.attention import Attention, attention
from compressor.export.kernels.columns import Convolution, pack_columns
from compressor.export.kernels.convolution import convolution
from compressor.export.kernels.depthwise import Depthwise, depthwise
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.module import NOTHING, End, add_function, constant, count, known, likely
from compressor.export.kernels.patches import Window

__all__ = ["Codes", "behind", "emit_attention", "emit_convolution", "emit_dense", "emit_depthwise"]

_WORK = 1 << 20  # multiply–accumulates: about 8 µs; threads take 2 to wake, 50 where others work there, too


@dataclass(frozen=True)
class Codes:
    """By channel: whole numbers added to sums of codes (N), and what one stands for (N, or the same for all)."""

    offsets: Tensor
    scales: Tensor

    def by_channel(self, count: int) -> list[Tensor]:
        return [self.offsets.to(torch.int32), self.scales.expand(count)]


def behind(isa: Isa, channels: int, groups: int = 1) -> int:
    """Columns that images of codes need behind them, of so many channels a group: they are read in groups of inputs."""
    return -(-(isa.group - 1) // (channels * groups)) if channels % isa.group else 0


def emit_dense(
    builder: Any, isa: Isa, x: Any, weight: Tensor, bias: Tensor | None = None, end: End = NOTHING, *,
    scale: Tensor | None = None,
) -> Any:  # fmt: skip
    """x (…, K) float32, `weight` (N, K), int8 where it has a `scale` (N), `bias` (N) → the relax variable (…, N)."""
    *lead, width = x.ty.shape.values
    rows = count(lead)
    window = Window(int(width))
    y = _convolved(builder, isa, x, window, weight[:, None, None], 1, bias, end, rows, scale=scale)
    return builder.emit(relax.op.reshape(y, (*lead, weight.shape[0])))


def emit_convolution(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, groups: int = 1, bias: Tensor | None = None,
    end: End = NOTHING, codes: Codes | None = None, *, scale: Tensor | None = None,
) -> Any:  # fmt: skip
    """x (n, height, width, C), padding included, `weight` (N, Ky, Kx, C / groups), int8 where it has a `scale` (N) →
    (n, H′, W′, N).

    With `codes` both are bytes, x such as the instruction set multiplies and `behind` has what it needs.
    """
    samples, (down, across) = x.ty.shape.values[0], window.places
    if window.kernel == window.stride == (1, 1) and not window.spare:  # rows of a matrix: one line, however many
        rows, seen = samples * (down * across), Window(window.channels)
    else:
        rows, seen = samples, window
    y = _convolved(builder, isa, x, seen, weight, groups, bias, end, rows, codes, scale=scale)
    return builder.emit(relax.op.reshape(y, (samples, down, across, len(weight))))


def _convolved(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, groups: int, bias: Tensor | None, end: End,
    samples: Any, codes: Codes | None = None, *, scale: Tensor | None = None,
) -> Any:  # fmt: skip
    """(rows, N)."""
    places = window.places[0] * window.places[1]
    rows = samples * places
    parallel = likely(rows) * weight.numel() >= _WORK
    with_codes, biased, stored = codes is not None, bias is not None, scale is not None
    narrow = with_codes and bool((weight > -128).all())
    spec = Convolution(
        isa, window, len(weight), known(samples), groups, with_codes, stored, narrow, biased, end.ending,
        parallel=parallel,
    )  # fmt: skip
    scales = codes.by_channel(len(weight)) if codes is not None else [] if scale is None else [scale]
    by_channel = [*scales, *([] if bias is None else [bias])]
    beyond = (0, spec.columns * isa.lanes - spec.wide)
    padded = [functional.pad(each.reshape(groups, -1), beyond).flatten() for each in by_channel]
    given = [pack_columns(weight, spec), *padded]
    function = add_function(builder, convolution(spec), "convolution")
    return _called(builder, function, x, (samples, window.size), given, end, (rows, len(weight)))


def emit_depthwise(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, bias: Tensor | None = None, end: End = NOTHING,
    codes: Codes | None = None,
) -> Any:  # fmt: skip
    """x (n, height, width, C), padding included, `weight` (C, Ky, Kx) → (n, H′, W′, C); with `codes` both are bytes."""
    samples, (down, across) = x.ty.shape.values[0], window.places
    parallel = (known(samples) or 1) * down * across * weight.numel() >= _WORK
    kind = None if codes is None else str(x.ty.dtype)
    spec = Depthwise(isa, window, known(samples), kind, bias is not None, end.ending, parallel)
    offsets = [] if codes is None else codes.by_channel(window.channels)
    stored = [weight.permute(1, 2, 0).flatten(), *offsets, *([] if bias is None else [bias])]
    function = add_function(builder, depthwise(spec), "depthwise")
    shape = samples * (down * across), window.channels
    y = _called(builder, function, x, (samples, window.size), stored, end, shape)
    return builder.emit(relax.op.reshape(y, (samples, down, across, window.channels)))


def emit_attention(
    builder: Any, isa: Isa, inputs: Sequence[Any], mask: Any | None = None, *, causal: bool, scale: float,
    first: tuple[bool, bool, bool],
) -> Any:  # fmt: skip
    """q (B, S, H, D), k (B, T, G, D), v (B, T, G, E), `mask` of four dimensions, all float32 → (B, S, H, E).

    `first` as `Attention` has it.
    """
    (batch, *q), (_, *v) = inputs[0].ty.shape.values, inputs[2].ty.shape.values
    queries, heads, width = (q[1], q[0], q[2]) if first[0] else q
    keys, groups, values = (v[1], v[0], v[2]) if first[2] else v
    sizes = known(batch), known(queries), known(keys)
    work = (sizes[0] or 1) * likely(queries) * likely(keys) * int(heads) * (int(width) + int(values))
    masked = None if mask is None else tuple(1 if known(size) == 1 else None for size in mask.ty.shape.values)
    spec = Attention(
        isa,
        int(heads),
        int(groups),
        int(width),
        int(values),
        scale,
        *sizes,
        masked,
        causal,
        first,
        parallel=work >= _WORK,
    )
    function = add_function(builder, attention(spec), "attention")
    y = relax.TensorType((batch, queries, heads, values), "float32")
    return builder.emit(relax.call_tir(function, [*inputs, *([] if mask is None else [mask])], y))


def _called(
    builder: Any,
    function: Any,
    x: Any,
    size: tuple[Any, Any],
    stored: Sequence[Tensor],
    end: End,
    shape: tuple[Any, Any],
) -> Any:
    flat = builder.emit(relax.op.reshape(x, size))
    given = [flat, *map(constant, stored), *end.given(builder, shape)]
    return builder.emit(relax.call_tir(function, given, relax.TensorType(shape, end.ending.kind)))
