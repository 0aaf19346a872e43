"""What a convolution's window meets, laid out as rows, so that any product of rows computes the convolution.

    rows[n, y, …, (i·Kx + j)·C + c] = x[n, y·s + i·d − p, …, c]        zero where that is outside

Channels come last, in x and within each place of the kernel: a block of channels of one pixel stays together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["patches"]


@torch.library.custom_op("compressor::patches", mutates_args=())
def patches(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """x (n, *sizes, C), any dtype → (n, *places, ∏ kernel · C).

    `kernel`, `stride` and `dilation` are given for each axis; `padding` as `torch.nn.functional.pad` takes it of the
    axes alone: the last one first, before and behind.
    """
    view = functional.pad(x, [0, 0, *padding])
    for axis, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True), 1):
        view = view.unfold(axis, spread * (size - 1) + 1, step)[..., ::spread]
    channels = 1 + len(kernel)
    return view.movedim(channels, -1).flatten(channels).contiguous()


@patches.register_fake
def _(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    pads = [padding[2 * axis] + padding[2 * axis + 1] for axis in reversed(range(len(kernel)))]
    sizes: Sequence[int] = x.shape[1:-1]
    places = [
        (size + pad - spread * (taken - 1) - 1) // step + 1
        for size, pad, taken, step, spread in zip(sizes, pads, kernel, stride, dilation, strict=True)
    ]
    return x.new_empty((x.shape[0], *places, math.prod(kernel) * x.shape[-1]))
