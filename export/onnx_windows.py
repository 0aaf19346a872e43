"""What a convolution's window meets, as ONNX operators.

    compressor::patches    →    Pad, a Slice for each tap of the kernel, Concat along the channels

Slices end counted from behind, so that sizes may be known only when it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnxscript.onnx_opset import opset18 as op  # the same nodes are valid in every later opset

__all__ = ["patches"]

_LAST = np.iinfo(np.int64).max  # where a slice goes to the end


def patches(
    x: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Any:
    """x (n, *sizes, C) → (n, *places, ∏ kernel · C), whatever the sizes: slices end counted from behind."""
    if any(padding):
        before, after = ([*reversed(padding[end::2])] for end in (0, 1))
        pads = [0, *before, 0, 0, *after, 0]
        x = op.Pad(x, op.Constant(value_ints=pads), op.CastLike(op.Constant(value_floats=[0.0]), x))
    axes, steps = (op.Constant(value_ints=each) for each in (list(range(1, 1 + len(kernel))), list(stride)))
    taps = []
    for place in itertools.product(*(range(size) for size in kernel)):
        starts = [at * spread for at, spread in zip(place, dilation, strict=True)]
        behind = [(size - 1 - at) * spread for size, at, spread in zip(kernel, place, dilation, strict=True)]
        ends = op.Constant(value_ints=[-left if left else _LAST for left in behind])
        taps.append(op.Slice(x, op.Constant(value_ints=starts), ends, axes, steps))
    return op.Concat(*taps, axis=-1)
