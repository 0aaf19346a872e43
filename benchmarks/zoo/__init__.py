"""Architectures to try the compiler on: own classics and Hugging Face's, built by `Architecture.build()`."""

from __future__ import annotations

from . import attention, convolutional, huggingface, pixels, sequences
from .entry import Architecture, Built

__all__ = ["ARCHITECTURES", "Architecture", "Built"]

ARCHITECTURES: list[Architecture] = [
    *convolutional.ARCHITECTURES, *pixels.ARCHITECTURES, *sequences.ARCHITECTURES, *attention.ARCHITECTURES,
    *huggingface.ARCHITECTURES,
]  # fmt: skip
