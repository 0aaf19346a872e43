"""Ternary weights: codes −1, 0, 1 and what they stand for, a tensor, a row or a block of a row at a time.

ŵ = h · [q = 1] + l · [q = −1],      l = −h but for min–max
absmean   h = mean|w|,        q = clamp(round(w / (h + 1e-5)), −1, 1)      BitNet b1.58 (arXiv:2402.17764)
minmax    h = max w, l = min w,      q = [w > h / 2] − [w < l / 2]         QMoE (arXiv:2310.16795)
fitted    h = (Σ of the k largest |w|) / k with the k that leaves the least squared error: k* = argmax (Σ|w|)² / k,
          the exact minimum of Σ (w − ŵ)² (Li, Liu: Ternary weight networks, 2016, 1605.04711)
given     h as it was learned,       q = clamp(round(w / h), −1, 1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.formats import PER_TENSOR, SMALLEST_SCALE, Granularity, cut, groups_in, ranges, spread

__all__ = [
    "PER_ROW",
    "RULES",
    "Rule",
    "Ternary",
    "dequantize_ternary",
    "quantize_ternary",
    "ternary_bits",
    "with_scale",
]

Rule = Literal["absmean", "minmax", "fitted"]
RULES: tuple[Rule, ...] = ("absmean", "minmax", "fitted")
PER_ROW = Granularity(0)
_AWAY = 1e-5  # BitNet's, so that a matrix of zeros divides by something


@dataclass(frozen=True)
class Ternary:
    """A matrix (N, K): `codes` int8 of its shape, `low` and `high` float32 by group: 0-d, (N,) or (N, ⌈K/block⌉)."""

    codes: Tensor
    low: Tensor
    high: Tensor
    granularity: Granularity

    @property
    def symmetric(self) -> bool:
        return bool(torch.equal(self.low, -self.high))


def quantize_ternary(weight: Tensor, rule: Rule = "absmean", granularity: Granularity = PER_ROW) -> Ternary:
    """Round a matrix (N, K) by one of `RULES`, for all of it, by row (axis 0) or by block of a row (axis 1).

    Raises InputError for what is no matrix, is not finite, or for another rule or grouping.
    """
    groups, mask = _groups(weight, granularity)
    if rule == "absmean":
        high = (groups.abs().sum(-1) / mask.sum(-1)).double()
        codes = torch.clamp(torch.round(groups / (high + _AWAY).unsqueeze(-1)), -1, 1)
        return _made(weight, codes, -high, high, granularity)
    if rule == "minmax":
        low, high = groups.amin(-1).clamp(max=0.0), groups.amax(-1).clamp(min=0.0)
        codes = (groups > high.unsqueeze(-1) / 2).double() - (groups < low.unsqueeze(-1) / 2).double()
        return _made(weight, codes, low, high, granularity)
    if rule != "fitted":
        raise InputError(f"no rule of ternary rounding: {rule!r}", way_out=", ".join(RULES))
    sizes, order = groups.abs().sort(-1, descending=True)
    count = torch.arange(1, sizes.shape[-1] + 1, dtype=torch.float64)
    sums = sizes.cumsum(-1)
    best = (sums.square() / count).argmax(-1, keepdim=True)
    high = (sums.gather(-1, best) / (best + 1)).squeeze(-1)
    chosen = torch.zeros_like(groups).scatter(-1, order, (count <= best + 1).double())
    return _made(weight, groups.sign() * chosen, -high, high, granularity)


def with_scale(weight: Tensor, scale: Tensor, granularity: Granularity = PER_ROW) -> Ternary:
    """Round a matrix to the multiples of scales that were learned: 0-d, (N,) or (N, ⌈K/block⌉), of any sign but zero.

    Raises InputError for scales of another shape, that are zero or not finite.
    """
    groups, _ = _groups(weight, granularity)
    if scale.shape != groups.shape[:-1] or not bool(torch.isfinite(scale).all() and (scale != 0).all()):
        raise InputError(f"scales {tuple(scale.shape)} for groups {tuple(groups.shape[:-1])}, or zero among them")
    high = scale.detach().double()
    return _made(weight, torch.clamp(torch.round(groups / high.unsqueeze(-1)), -1, 1), -high, high, granularity)


def dequantize_ternary(ternary: Ternary) -> Tensor:
    """The float32 matrix (N, K) that the codes stand for."""
    high, low = (spread(value, ternary.codes, ternary.granularity) for value in (ternary.high, ternary.low))
    return torch.where(ternary.codes > 0, high, torch.where(ternary.codes < 0, low, torch.zeros_like(high)))


def ternary_bits(shape: tuple[int, int], granularity: Granularity, *, trit: float = 1.6, scale: int = 32) -> float:
    """Bits a weight: a code's (1.6 in base 3, 2 as two bits) and its share of one scale of so many bits a group."""
    return trit + scale * groups_in(shape, granularity) / max(math.prod(shape), 1)


def _groups(weight: Tensor, granularity: Granularity) -> tuple[Tensor, Tensor]:
    """The weights by group along the last dimension, in double precision, and 1 where one is no padding."""
    if weight.dim() != 2 or 0 in weight.shape:
        raise InputError(f"a weight of shape {tuple(weight.shape)} is no matrix to make ternary")
    ranges(weight)  # refuses what is not finite
    plain = weight.detach().double()
    if granularity == PER_TENSOR:
        return plain.flatten(), torch.ones(plain.numel(), dtype=torch.float64)
    if granularity == PER_ROW:
        return plain, torch.ones_like(plain)
    if granularity.block is None or granularity.axis not in (1, -1):
        raise InputError(f"ternary codes share a scale by tensor, row or block of a row, not by {granularity}")
    return cut(plain, granularity.block), cut(torch.ones_like(plain), granularity.block)


def _made(weight: Tensor, codes: Tensor, low: Tensor, high: Tensor, granularity: Granularity) -> Ternary:
    shaped = codes.flatten(1)[:, : weight.shape[1]] if codes.dim() == 3 else codes.view(weight.shape)
    return Ternary(shaped.to(torch.int8), _usable(low), _usable(high), granularity)


def _usable(scale: Tensor) -> Tensor:
    """In single precision; what a product with another scale would lose is zero from the start."""
    single = scale.float()
    return torch.where(single.abs() < SMALLEST_SCALE, torch.zeros_like(single), single)
