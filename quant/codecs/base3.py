"""Five ternary digits a byte: 1.6 bits a weight, against log₂ 3 = 1.585 that equally likely digits need.

byte = Σ_i (q_i + 1) · 3^i,    i = 0 … 4, q in −1, 0, 1;   3⁵ = 243 ≤ 256
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.errors import InputError

__all__ = ["DIGITS", "pack_trits", "unpack_trits"]

DIGITS = 5  # a byte
_POWERS = torch.tensor([1, 3, 9, 27, 81], dtype=torch.int16)
_LARGEST = 3**DIGITS - 1


def pack_trits(codes: Tensor) -> Tensor:
    """Codes −1, 0, 1 of any shape → uint8 (⌈count / 5⌉,), in row-major order; the last byte is filled with zeros.

    Raises InputError for other codes.
    """
    flat = codes.flatten().to(torch.int16)
    if flat.numel() and bool((flat.abs() > 1).any()):
        raise InputError("codes other than −1, 0 and 1 are no ternary digits")
    digits = torch.nn.functional.pad(flat + 1, (0, -flat.numel() % DIGITS), value=1)
    return (digits.view(-1, DIGITS) * _POWERS).sum(1).to(torch.uint8)


def unpack_trits(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The int8 codes of that shape. Raises InputError for bytes that hold no digits, or for too few or too many."""
    count = torch.Size(shape).numel()
    if packed.numel() != -(-count // DIGITS):
        raise InputError(f"{packed.numel()} bytes do not hold {count} ternary digits")
    if packed.numel() and int(packed.max()) > _LARGEST:
        raise InputError(f"a byte above {_LARGEST} holds no five ternary digits")
    digits = packed.to(torch.int16).unsqueeze(1) // _POWERS % 3 - 1
    return digits.flatten()[:count].to(torch.int8).view(shape)
