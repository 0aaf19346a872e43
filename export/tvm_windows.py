"""What a convolution's window meets, for TVM: images padded for kernels that walk over them, and rows laid out.

    compressor::patches    →    pad, then    rows[n, y, …, k·C + c] = x[n, y·s + i(k)·d, …, c]

Where a product of codes reads rows whose blocks are each of one pixel, it takes the image instead (`met_by`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import fx
from tvm import relax, te

from compressor.export.kernels.patches import Window
from compressor.export.tvm_stored import arguments_of, data_of, pair
from compressor.graph.shapes import is_settled

__all__ = ["is_by_pixel", "laid_patches", "met_by", "windowed"]


def windowed(
    importer: Any, data: Any, padding: Any, value: float, kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int], spare: int = 0,
) -> tuple[Any, Window]:  # fmt: skip
    """x (n, H, W, C) padded with a value, `spare` columns more at the end, and what meets it."""
    left, right, above, below = padding
    _, height, width, channels = data.ty.shape.values
    if any(padding) or spare:
        pads = [0, 0, above, below, left, right + spare, 0, 0]
        data = importer.block_builder.emit(relax.op.nn.pad(data, pads, pad_value=value))
    size = int(height) + above + below, int(width) + left + right + spare
    return data, Window(int(channels), *size, kernel, stride, dilation, spare)


def is_by_pixel(patches: fx.Node, block: int) -> bool:
    """Whether blocks of a row are each of one pixel, of images or lines of known size."""
    image, kernel, *_ = arguments_of(patches)
    shape = image.meta["val"].shape
    return len(kernel) <= 2 and shape[-1] % block == 0 and all(is_settled(size) for size in shape[1:])


def met_by(importer: Any, patches: fx.Node) -> tuple[Any, Window]:
    """The padded image that the windows of such patches meet; a line is an image of one row."""
    x, kernel, stride, padding, dilation = arguments_of(patches)
    data = data_of(importer, x)
    if len(kernel) == 1:
        data = importer.block_builder.emit(relax.op.expand_dims(data, 1))
        padding = [*padding, 0, 0]
    down, step, spread = (pair([*[1] * (2 - len(each)), *each]) for each in (kernel, stride, dilation))
    return windowed(importer, data, padding, 0.0, down, step, spread)


def laid_patches(node: fx.Node, importer: Any) -> Any:
    """Rows of floats, in any number of dimensions."""
    x, kernel, stride, padding, dilation = arguments_of(node)
    data = data_of(importer, x)
    if any(padding):
        pairs = [padding[at : at + 2] for at in range(0, len(padding), 2)]
        pads = [0, 0, *(size for pair in reversed(pairs) for size in pair), 0, 0]
        data = importer.block_builder.emit(relax.op.nn.pad(data, pads))

    def laid(x: Any) -> Any:
        samples, *sizes, channels = x.shape

        def one(*place: Any) -> Any:  # te counts the dimensions by its arguments, or takes all where it has none
            sample, *at, number = place
            met = _met(at, number // channels, kernel, stride, dilation)
            return x(sample, *met, number % channels)

        spans = [spread * (size - 1) + 1 for size, spread in zip(kernel, dilation, strict=True)]
        places = [(size - span) // step + 1 for size, span, step in zip(sizes, spans, stride, strict=True)]
        return te.compute([samples, *places, math.prod(kernel) * channels], one, name="patches")

    return importer.block_builder.emit_te(laid, data, primfunc_name_hint="patches")


def _met(
    at: Sequence[Any], tap: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[Any]:
    """The pixel that the window at a place meets with a tap of its kernel, counted row by row."""
    found = []
    for place, size, step, spread in reversed(list(zip(at, kernel, stride, dilation, strict=True))):
        found.append(place * step + tap % size * spread)
        tap = tap // size
    return found[::-1]
