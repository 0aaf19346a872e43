"""A linear layer with packed weights inside a relax module: its input rounded, then multiplied.

    y (…, N) = act(x (…, K) · Ŵᵀ + b)    →    call_tir(round_rows, x), call_tir(product, codes of x, Ŵ, b)
    y = act((q − z) · Ŵᵀ · s + b)        →    call_tir(patches, q), call_tir(product, rows of q, Ŵ, −z Σ Ŵ, b)
    y = act(x ⊛ Ŵ + b)                   →    call_tir(round_rows, x), call_tir(rounded_patches, codes of x),
                                              call_tir(product, rows, Ŵ, b)

Weights are constants of the module, so that they are packed once, when it is compiled, and lie in the library. Rows are
what all leading dimensions make together, known or symbolic. Layers of one shape share their functions, and those that
round the same input share its codes, if the module's common subexpressions are eliminated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tvm import relax

from compressor.export.kernels.activations import Rounding, round_rows
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.module import NOTHING, End, add_function, constant, count, known, likely
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.packing import Layout, Packed, pack_outputs
from compressor.export.kernels.patches import Window, patches, rounded_patches
from compressor.export.kernels.product import product

__all__ = ["emit_codes", "emit_linear", "emit_window"]

_WORK = 1 << 20  # multiply–accumulates: 5 µs and more; threads take 2 to wake, 50 where others work there, too


def emit_linear(
    builder: Any, isa: Isa, x: Any, packed: Packed, bias: Tensor | None = None, *, end: End = NOTHING,
    by_block: bool = False,
) -> Any:  # fmt: skip
    """Emit the layer into a relax `builder`'s function; x (…, K) float32 → the relax variable (…, N).

    `packed` is laid out for `isa`, `bias` (N) as it is; `by_block` rounds x by the blocks of the weights; `end` is what
    follows. Raises InputError for a bias of another length.
    """
    layout = packed.layout
    *lead, _ = x.ty.shape.values
    rows = count(lead)
    flat = builder.emit(relax.op.reshape(x, (rows, layout.inputs)))
    parallel = _is_work(rows, layout)
    how = Rounding(isa, layout, known(rows), by_block=by_block, parallel=parallel)
    rounded = _rows(builder, add_function(builder, round_rows(how), "round_rows"), [flat], rows, layout, how.scales)
    spec = Product(isa, layout, known(rows), bias is not None, end.ending, by_block, parallel=parallel)
    y = _multiplied(builder, spec, rounded, packed, [] if bias is None else [bias], rows, end)
    return builder.emit(relax.op.reshape(y, (*lead, layout.outputs)))


def emit_window(
    builder: Any, isa: Isa, x: Any, window: Window, packed: Packed, bias: Tensor | None = None, *, end: End = NOTHING
) -> Any:
    """The same of what a convolution's window meets: x (n, height, width, C) float32, padding included → (n, down,
    across, N). C is whole blocks of the weights: each pixel is rounded by block, once."""
    layout, (samples, *_) = packed.layout, x.ty.shape.values
    down, across = window.places
    pixels, rows = samples * (window.height * window.width), samples * (down * across)
    flat = builder.emit(relax.op.reshape(x, (pixels, window.channels)))
    parallel = _is_work(rows, layout)
    inner = replace(layout, outputs=1, inputs=window.channels)
    how = Rounding(isa, inner, known(pixels), by_block=True, parallel=parallel)
    rounded = _rows(builder, add_function(builder, round_rows(how), "round_rows"), [flat], pixels, inner, how.scales)
    given = [builder.emit(relax.op.reshape(each, (samples, -1))) for each in rounded]
    laid = rounded_patches(layout, window, inner.stride, known(samples), parallel=parallel)
    met = _rows(builder, add_function(builder, laid, "rounded_patches"), given, rows, layout, layout.blocks)
    spec = Product(
        isa, layout, known(rows), bias is not None, end.ending, True, parallel=parallel, multiple=down * across
    )
    y = _multiplied(builder, spec, met, packed, [] if bias is None else [bias], rows, end)
    return builder.emit(relax.op.reshape(y, (samples, down, across, layout.outputs)))


def emit_codes(
    builder: Any, isa: Isa, q: Any, window: Window, scale: float, packed: Packed, offsets: Tensor,
    bias: Tensor | None = None, *, end: End = NOTHING,
) -> Any:  # fmt: skip
    """The same of codes q int8 (n, height · width · channels) → the relax variable (n · places, N).

    They stand for `scale` times what the codes say; `offsets` (N) are whole numbers added to the sums of products: a
    bias in their unit, less what the codes' zero point puts into them.
    """
    layout, samples = packed.layout, q.ty.shape.values[0]
    down, across = window.places
    rows = samples * (down * across)
    places = down * across
    parallel = _is_work(rows, layout)
    laid = add_function(builder, patches(isa, layout, window, known(samples), parallel=parallel), "patches")
    given = [q, constant(torch.tensor([[scale]], dtype=torch.float32))]
    ending, biased = end.ending, bias is not None
    spec = Product(isa, layout, known(rows), biased, ending, offsets=True, parallel=parallel, multiple=places)
    rounded = _rows(builder, laid, given, rows, layout, 1)
    return _multiplied(builder, spec, rounded, packed, [offsets, *([] if bias is None else [bias])], rows, end)


def _is_work(rows: Any, layout: Layout) -> bool:
    """Whether several threads are worth waking for it."""
    return likely(rows) * layout.outputs * layout.inputs >= _WORK


def _rows(builder: Any, function: Any, given: Sequence[Any], rows: Any, layout: Layout, scales: int) -> list[Any]:
    """Codes, scales and sums of rows, as a function makes them."""
    made = [
        relax.TensorType((rows, layout.stride), "int8"),
        relax.TensorType((rows, scales), "float32"),
        relax.TensorType((rows, layout.blocks), "int32"),
    ]
    rounded = builder.emit(relax.call_tir(function, list(given), made))
    return [builder.emit(relax.TupleGetItem(rounded, index)) for index in range(len(made))]


def _multiplied(
    builder: Any, spec: Product, rounded: Sequence[Any], packed: Packed, by_output: Sequence[Tensor], rows: Any,
    end: End,
) -> Any:  # fmt: skip
    """(rows, N): the product, with what is given for each output."""
    multiply = add_function(builder, product(spec), "product")
    stored = [packed.codes, packed.scales, *(pack_outputs(each, spec.layout) for each in by_output)]
    shape = rows, spec.layout.outputs
    given = [*rounded, *map(constant, stored), *end.given(builder, shape)]
    return builder.emit(relax.call_tir(multiply, given, relax.TensorType(shape, end.ending.kind)))
