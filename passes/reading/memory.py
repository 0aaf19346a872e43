"""Which bytes a stored tensor lies in, to tell which others share them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["memory_range"]


def memory_range(tensor: Tensor) -> tuple[int, int]:
    """The bytes from a tensor's first element to its last, as a half-open interval of addresses."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size() if tensor.numel() else start
