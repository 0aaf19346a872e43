"""A layer as matrix products: weights as groups × outputs × inputs, what it reads as groups × positions × inputs.

    linear   y = x·Wᵀ          matmul   y = x·W          conv   y = unfold(x)·Wᵀ, group by group
    conv_transpose, embedding            no product of what is read: the rows are those that share a scale

Consecutive inputs of a convolution run along its input channels, at one kernel position after the other: the order
in which TensorRT asks for 2:4 ("for each output channel and each position in the kernel, two of every four input
channels").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from compressor.graph.edit import argument

__all__ = ["from_matrix", "padding_of", "results_of", "rows_of", "to_matrix"]


def to_matrix(weight: Tensor, kind: str, groups: int = 1) -> Tensor:
    """A weight ("linear", "matmul", "conv", "conv_transpose" or "embedding") as groups × outputs × inputs; of a
    transposed convolution in groups, the outputs of one."""
    if kind == "matmul":
        return weight.T.unsqueeze(0)
    if kind == "conv_transpose":
        return weight.movedim(0, -1).reshape(1, weight.shape[1], -1)
    return weight.movedim(1, -1).reshape(groups, len(weight) // groups, -1)


def from_matrix(matrix: Tensor, like: Tensor, kind: str) -> Tensor:
    """The inverse of `to_matrix`, in the shape and dtype of `like`; the groups may be one below the other.

    It is laid out afresh: `contiguous` alone keeps the strides of a 1×1 kernel, from which PyTorch would take it that
    channels come last, and a view of what the convolution then yields would fail.
    """
    if kind == "matmul":
        return matrix.flatten(0, -2).T.to(like.dtype).contiguous()
    if kind == "conv_transpose":
        moved = matrix.reshape(*like.shape[1:], like.shape[0]).movedim(-1, 0)
        return moved.to(like.dtype).clone(memory_format=torch.contiguous_format)
    last = (like.shape[0], *like.shape[2:], like.shape[1])
    return matrix.reshape(last).movedim(-1, 1).to(like.dtype).clone(memory_format=torch.contiguous_format)


def rows_of(node: fx.Node, data: Tensor, weight: Tensor, kind: str, limit: int) -> Tensor:
    """What at most `limit` positions of a call's output read, evenly spread."""
    if kind != "conv":
        flat = data.reshape(-1, data.shape[-1])
        return flat[_spread(len(flat), limit)].unsqueeze(0)
    windows = _windows(node, data, weight)
    places = windows.shape[: weight.dim() - 1]
    chosen = torch.unravel_index(_spread(math.prod(places), limit), places)
    found = windows[chosen]  # positions × channels × kernel
    groups = windows.shape[weight.dim() - 1] // weight.shape[1]
    grouped = found.reshape(len(found), groups, weight.shape[1], *weight.shape[2:])
    return grouped.movedim(2, -1).flatten(2).transpose(0, 1)


def results_of(node: fx.Node, value: Tensor, kind: str, limit: int) -> Tensor:
    """What a call gives at the positions that `rows_of` takes: positions × outputs."""
    if kind == "conv":
        places = len(argument(node, "weight").meta["val"].shape) - 2
        value = value.movedim(value.dim() - places - 1, -1)
    flat = value.reshape(-1, value.shape[-1])
    return flat[_spread(len(flat), limit)]


def padding_of(given: Any, spans: Sequence[int]) -> list[int]:
    """A convolution's padding, by what its kernel spans, as `functional.pad` wants it: the last dimension first, before
    and after."""
    if given == "same":
        pairs = [((span - 1) // 2, span - 1 - (span - 1) // 2) for span in spans]
    else:
        pairs = [(size, size) for size in _each(0 if given == "valid" else given, len(spans))]
    return [size for pair in reversed(pairs) for size in pair]


def _windows(node: fx.Node, data: Tensor, weight: Tensor) -> Tensor:
    """A view of batch × output positions × channels × kernel; its copy would be as large as all products' inputs."""
    sizes = weight.shape[2:]
    steps, spread = (_each(argument(node, name), len(sizes)) for name in ("stride", "dilation"))
    spans = [step * (size - 1) + 1 for step, size in zip(spread, sizes, strict=True)]
    view = data.unsqueeze(0) if data.dim() == weight.dim() - 1 else data
    view = functional.pad(view, padding_of(argument(node, "padding"), spans))
    for axis, (span, step, dilation) in enumerate(zip(spans, steps, spread, strict=True)):
        view = view.unfold(2 + axis, span, step)[..., ::dilation]
    positions = list(range(2, 2 + len(sizes)))
    return view.movedim(positions, [axis - 1 for axis in positions])


def _each(value: Any, count: int) -> list[int]:
    numbers = [int(number) for number in value] if isinstance(value, (list, tuple)) else [int(value)]
    return numbers * count if len(numbers) == 1 else numbers


def _spread(count: int, limit: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, limit), dtype=torch.float64).long()
