"""Layers of floats, depthwise ones of codes, and attention inside a relax module, as calls of kernels.

    y (n, H′, W′, N) = act(x (n, H, W, C) ⊛ w + b + r)    →    pad(x), call_tir(convolution or depthwise, …)
    y (…, N) = act(x (…, K) · wᵀ + b + r)                 →    call_tir(convolution of a single place, …)

Weights are constants of the module in the order in which kernels read them. Layers of one shape share their function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tvm import relax

from compressor.export.kernels.attention import Attention, attention
from compressor.export.kernels.convolution import Convolution, convolution, pack_columns
from compressor.export.kernels.depthwise import Depthwise, depthwise
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.module import NOTHING, End, add_function, constant, count, known
from compressor.export.kernels.patches import Window

__all__ = ["emit_attention", "emit_convolution", "emit_dense", "emit_depthwise"]

_WORK = 1 << 20  # multiply–accumulates: about 8 µs; threads take 2 to wake, 50 where others work there, too
_SOME = 16  # rows, where nothing is known of their number


def emit_dense(builder: Any, isa: Isa, x: Any, weight: Tensor, bias: Tensor | None = None, end: End = NOTHING) -> Any:
    """x (…, K) float32, `weight` (N, K), `bias` (N) → the relax variable (…, N)."""
    *lead, width = x.ty.shape.values
    rows = count(lead)
    window = Window(int(width))
    y = _convolved(builder, isa, x, window, weight[:, None, None], 1, bias, end, rows)
    return builder.emit(relax.op.reshape(y, (*lead, weight.shape[0])))


def emit_convolution(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, groups: int = 1, bias: Tensor | None = None,
    end: End = NOTHING,
) -> Any:  # fmt: skip
    """x (n, height, width, C) float32, padding included, `weight` (N, Ky, Kx, C / groups) → (n, H′, W′, N)."""
    samples, (down, across) = x.ty.shape.values[0], window.places
    if window.kernel == window.stride == (1, 1):  # rows of a matrix: one line, however many
        rows, seen = samples * (down * across), Window(window.channels)
    else:
        rows, seen = samples, window
    y = _convolved(builder, isa, x, seen, weight, groups, bias, end, rows)
    return builder.emit(relax.op.reshape(y, (samples, down, across, len(weight))))


def _convolved(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, groups: int, bias: Tensor | None, end: End,
    samples: Any,
) -> Any:  # fmt: skip
    """(rows, N)."""
    places = window.places[0] * window.places[1]
    rows = samples * places
    parallel = (known(rows) or _SOME * places) * weight.numel() >= _WORK
    spec = Convolution(isa, window, len(weight), known(samples), groups, bias is not None, end.ending, parallel)
    padded = (
        [] if bias is None else [functional.pad(bias.reshape(groups, -1), (0, spec.columns * isa.lanes - spec.wide))]
    )
    stored = [pack_columns(weight, spec), *(each.flatten() for each in padded)]
    function = add_function(builder, convolution(spec), "convolution")
    return _called(builder, function, x, (samples, window.size), stored, end, (rows, len(weight)))


def emit_depthwise(
    builder: Any, isa: Isa, x: Any, window: Window, weight: Tensor, bias: Tensor | None = None, end: End = NOTHING,
    codes: tuple[Tensor, Tensor] | None = None,
) -> Any:  # fmt: skip
    """x (n, height, width, C), padding included, `weight` (C, Ky, Kx) → (n, H′, W′, C) float32.

    `codes`: x and weight are int8; by channel what is added to the sums, in whole numbers, and their scales.
    """
    samples, (down, across) = x.ty.shape.values[0], window.places
    parallel = (known(samples) or 1) * down * across * weight.numel() >= _WORK
    spec = Depthwise(isa, window, known(samples), codes is not None, bias is not None, end.ending, parallel)
    offsets = [] if codes is None else [codes[0].to(torch.int32), codes[1].expand(window.channels)]
    stored = [weight.permute(1, 2, 0).flatten(), *offsets, *([] if bias is None else [bias])]
    function = add_function(builder, depthwise(spec), "depthwise")
    shape = samples * (down * across), window.channels
    y = _called(builder, function, x, (samples, window.size), stored, end, shape)
    return builder.emit(relax.op.reshape(y, (samples, down, across, window.channels)))


def emit_attention(
    builder: Any, isa: Isa, q: Any, k: Any, v: Any, mask: Any | None = None, *, causal: bool, scale: float
) -> Any:
    """q (B, S, H, D), k (B, T, G, D), v (B, T, G, E), `mask` of four dimensions, all float32 → (B, S, H, E)."""
    batch, queries, heads, width = q.ty.shape.values
    _, keys, groups, values = v.ty.shape.values
    sizes = known(batch), known(queries), known(keys)
    work = (sizes[0] or 1) * (sizes[1] or _SOME) * (sizes[2] or _SOME) * int(heads) * (int(width) + int(values))
    masked = None if mask is None else tuple(1 if known(size) == 1 else None for size in mask.ty.shape.values)
    spec = Attention(
        isa, int(heads), int(groups), int(width), int(values), scale, *sizes, masked, causal, parallel=work >= _WORK
    )
    function = add_function(builder, attention(spec), "attention")
    y = relax.TensorType((batch, queries, heads, values), "float32")
    return builder.emit(relax.call_tir(function, [q, k, v, *([] if mask is None else [mask])], y))


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
    return builder.emit(relax.call_tir(function, given, relax.TensorType(shape, "float32")))
