"""Number formats as plain values: their range, how a tensor becomes codes and back, and how codes are packed.

    scale      = (high − low) / (code_high − code_low)                affine: the codes span [low, high]
               = max(|low|, |high|) / code_high, zero_point = 0       symmetric
    q          = clamp(round(x / scale) + zero_point, code_low, code_high)        x̂ = (q − zero_point) · scale

Zero is always a code, so that padding and ReLU are exact (Jacob et al., 2018, arXiv:1712.05877, section 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError, did_you_mean

__all__ = [
    "BF16", "FORMATS", "FP16", "FP32", "INT7", "INT8", "INT8_AFFINE", "PER_TENSOR", "SMALLEST_SCALE", "UINT8", "Format",
    "Granularity", "QParams", "bits_per_weight", "choose_qparams", "cut", "dequantize", "format_named", "groups_in",
    "pack", "quantize", "ranges", "spread", "unpack",
]  # fmt: skip

SMALLEST_SCALE = 2.0**-100  # its inverse is finite, and so is what is left of it times another scale


@dataclass(frozen=True)
class Format:
    """A number format. An integer one has codes `low`…`high` of `bits` bits, held in `dtype`.

    A floating-point one has `low`…`high` as its finite range. `symmetric` formats have no zero point.
    """

    name: str
    bits: int
    low: float
    high: float
    dtype: torch.dtype
    symmetric: bool = True

    @property
    def integer(self) -> bool:
        return not self.dtype.is_floating_point

    @property
    def signed(self) -> bool:
        return self.low < 0

    @property
    def stored_bits(self) -> int:
        """Bits that one code takes where it is stored: the next power of two."""
        return 1 << (self.bits - 1).bit_length()


def _floating(name: str, dtype: torch.dtype) -> Format:
    info = torch.finfo(dtype)
    return Format(name, info.bits, info.min, info.max, dtype)


FP32 = _floating("fp32", torch.float32)
FP16 = _floating("fp16", torch.float16)
BF16 = _floating("bf16", torch.bfloat16)
INT8 = Format("int8", 8, -127, 127, torch.int8)
# The sum of two products of an unsigned byte with one of these fits 16 bits, which x86's VPMADDUBSW saturates at.
INT7 = Format("int7", 7, -63, 63, torch.int8)
INT8_AFFINE = Format("int8-affine", 8, -128, 127, torch.int8, symmetric=False)
UINT8 = Format("uint8", 8, 0, 255, torch.uint8, symmetric=False)
FORMATS = {f.name: f for f in (FP32, FP16, BF16, INT7, INT8, INT8_AFFINE, UINT8)}


def format_named(name: str) -> Format:
    """The format of that name. Raises InputError, with the nearest names, for one that is not known."""
    if name not in FORMATS:
        raise InputError(f"unknown number format {name!r}", way_out=did_you_mean(name, list(FORMATS)))
    return FORMATS[name]


@dataclass(frozen=True)
class Granularity:
    """What shares one scale: the tensor, each index of `axis`, or (with `block`) runs of that length along `axis`.

    Scales are 0-d, 1-d, or shaped like the tensor with `axis` divided by `block` (rounded up).
    """

    axis: int | None = None
    block: int | None = None


PER_TENSOR = Granularity()


@dataclass(frozen=True)
class QParams:
    """Scale (float32) and zero point (in the codes' dtype), shaped as `granularity` says."""

    scale: Tensor
    zero_point: Tensor
    format: Format
    granularity: Granularity = PER_TENSOR


def ranges(tensor: Tensor, granularity: Granularity = PER_TENSOR) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each group, zero included. Raises InputError for NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("the tensor holds NaN or infinite values", way_out="Quantization needs finite values.")
    grouped, dims = _grouped(tensor.detach().float(), granularity)
    if tensor.numel() == 0:
        return torch.zeros(()), torch.zeros(())
    return grouped.amin(dims).clamp(max=0.0), grouped.amax(dims).clamp(min=0.0)


def choose_qparams(
    source: Tensor | tuple[Tensor | float, Tensor | float], format: Format, granularity: Granularity = PER_TENSOR
) -> QParams:
    """Scale and zero point for a tensor, or for a range `(low, high)`, which is widened to hold zero.

    A group without extent gets scale 1. Raises InputError when a bound is not finite or low exceeds high.
    """
    bounds = ranges(source, granularity) if isinstance(source, Tensor) else source
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in bounds)
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise InputError(f"the range {bounds} is not a finite low and high")
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    extent, levels = (
        (torch.maximum(-low, high), format.high) if format.symmetric else (high - low, format.high - format.low)
    )
    scale = extent / levels
    scale = torch.where(scale > 0, scale.clamp(min=SMALLEST_SCALE), torch.ones_like(scale)).float()
    zero = torch.zeros_like(low) if format.symmetric else format.low - torch.round(low / scale.double())
    return QParams(scale, zero.clamp(format.low, format.high).to(format.dtype), format, granularity)


def quantize(tensor: Tensor, qparams: QParams) -> Tensor:
    """The codes of a tensor, in its shape and the format's dtype; rounds half to even."""
    fmt = qparams.format
    scale, zero = (spread(value, tensor, qparams.granularity) for value in (qparams.scale, qparams.zero_point))
    return torch.clamp(torch.round(tensor.detach() / scale) + zero, fmt.low, fmt.high).to(fmt.dtype)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """The float32 values that codes stand for."""
    scale, zero = (spread(value, codes, qparams.granularity) for value in (qparams.scale, qparams.zero_point))
    return (codes.to(scale.dtype) - zero.to(scale.dtype)) * scale


def pack(codes: Tensor, format: Format, *, dense: bool = False) -> Tensor:
    """Codes as bytes (uint8), along the last axis, the first code in the lowest bits.

    Each code takes `stored_bits`, as kernels read it, or exactly its `bits` where `dense`: three bits as eight codes
    in three bytes. The last axis is padded with zeros to a whole byte.
    """
    bits = format.bits if dense else format.stored_bits
    if bits == 8:
        return codes.contiguous().view(torch.uint8)
    per_byte = 8 // bits if 8 % bits == 0 else 8  # codes that end where a byte does
    fields = (codes.to(torch.int16) & ((1 << bits) - 1)).long()
    length = -(-fields.shape[-1] * bits // 8)
    fields = torch.nn.functional.pad(fields, (0, -fields.shape[-1] % per_byte))
    fields = fields.view(*fields.shape[:-1], -1, per_byte)
    word = (fields << (torch.arange(per_byte) * bits)).sum(-1, keepdim=True)
    packed = (word >> (torch.arange(per_byte * bits // 8) * 8)) & 0xFF
    return packed.flatten(-2)[..., :length].to(torch.uint8).contiguous()


def unpack(packed: Tensor, format: Format, length: int, *, dense: bool = False) -> Tensor:
    """What `pack` was given; `length` is that of the last axis."""
    bits = format.bits if dense else format.stored_bits
    if bits == 8:
        return packed.view(format.dtype)
    per_byte = 8 // bits if 8 % bits == 0 else 8
    size = per_byte * bits // 8
    whole = torch.nn.functional.pad(packed, (0, -packed.shape[-1] % size)).long()
    word = (whole.view(*packed.shape[:-1], -1, size) << (torch.arange(size) * 8)).sum(-1, keepdim=True)
    fields = (word >> (torch.arange(per_byte) * bits)) & ((1 << bits) - 1)
    codes = fields.flatten(-2)[..., :length]
    if format.signed:
        codes = torch.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    return codes.to(format.dtype)


def bits_per_weight(
    shape: Sequence[int], format: Format, granularity: Granularity = PER_TENSOR, *, dense: bool = False
) -> float:
    """Bits a weight as `pack` stores it: its code, and its share of the scales (float32) and zero points."""
    count = math.prod(shape)
    if not format.integer or count == 0:
        return float(format.bits)
    code = format.bits if dense else format.stored_bits
    zero_point = 0 if format.symmetric else format.stored_bits
    return code + groups_in(shape, granularity) * (32 + zero_point) / count


def groups_in(shape: Sequence[int], granularity: Granularity) -> int:
    """How many scales a tensor of that shape has."""
    axis, block = granularity.axis, granularity.block
    if axis is None:
        return 1
    if block is None:
        return shape[axis]
    return math.prod(shape) // shape[axis] * math.ceil(shape[axis] / block)


def cut(tensor: Tensor, block: int) -> Tensor:
    """(…, K) → (…, ⌈K/block⌉, block), padded with zeros."""
    padded = torch.nn.functional.pad(tensor, (0, -tensor.shape[-1] % block))
    return padded.reshape(*padded.shape[:-1], -1, block)


def _grouped(tensor: Tensor, granularity: Granularity) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor with groups laid out so that reducing the returned dimensions gives one value a group."""
    axis, block = granularity.axis, granularity.block
    if axis is None:
        return tensor, tuple(range(tensor.dim()))
    axis %= tensor.dim()
    if block is None:
        return tensor, tuple(dim for dim in range(tensor.dim()) if dim != axis)
    return cut(tensor.movedim(axis, -1), block).movedim(-2, axis), (-1,)


def spread(value: Tensor, like: Tensor, granularity: Granularity) -> Tensor:
    """Scales or zero points broadcast over the tensor that they belong to."""
    axis, block = granularity.axis, granularity.block
    if axis is None:
        return value
    if block is None:
        shape = [1] * like.dim()
        shape[axis] = -1
        return value.view(shape)
    return value.repeat_interleave(block, axis).narrow(axis, 0, like.shape[axis])
