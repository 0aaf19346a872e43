"""The values that a matrix's weights may be rounded to: codes times a scale, for runs of `block` weights of a row.

    ŵ = s · q        q in format.low … format.high, one s for `block` consecutive inputs of an output (int8: for all)
    ŵ = s · [q = 1] − b · [q = −1]        ternary min–max alone: another scale `below` zero

How a grid is chosen knows nothing of inputs, only of weights:

    nearest   the largest weight has the outermost code; of ternary ones the rule says it (`ternary.py`)
    mse       s = argmin Σ (w − ŵ)² over shares of that scale, each candidate refitted: Σwc / Σc²
    hqq       min_s Σ |w − ŵ|^p, p < 1, by half-quadratic splitting: w − s·c = e + (rest), e = shrink(w − s·c), then
              s = Σ (w − e)c / Σ c²; outliers, whose e takes them up, do not move the scale
              (after H. Badri, A. Shaji, Half-Quadratic Quantization of Large Machine Learning Models, 2023; theirs
              moves the zero point, symmetric formats have none)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.formats import PER_TENSOR, SMALLEST_SCALE, Format, Granularity, cut, ranges
from compressor.quant.ternary import PER_ROW, Rule, quantize_ternary

__all__ = ["SHARES", "Grid", "Search", "Share", "find_grid", "ternary_grid"]

Search = Literal["nearest", "mse", "hqq"]
Share = Literal["block", "row", "tensor"]
SHARES: tuple[Share, ...] = ("block", "row", "tensor")
_FEW = torch.arange(0.2, 1.2, 0.04).tolist()  # of the scale at which the largest weight has the outermost code
_MANY = [0.8, 0.85, 0.9, 0.95, 0.98, 1.0]  # with 7 or 8 bits hardly anything is clipped
_AT_ONCE = 2**21  # weights that a search works on together: it holds some ten times as much
_NORM, _BETA, _GROWTH, _STEPS = 0.7, 10.0, 1.05, 20  # HQQ's: p, how firmly e is held to, its growth, iterations


@dataclass(frozen=True)
class Grid:
    """For a matrix (N, K): `scale` (N, ⌈K/block⌉) float32; `below`, where it is not the same, for negative codes."""

    format: Format
    block: int
    scale: Tensor
    below: Tensor | None = None

    def codes(self, weight: Tensor) -> Tensor:
        """The nearest codes of a matrix (N, K), int8."""
        scale, below = self._spread(self.scale, weight.shape[1]), self.below
        if below is not None:
            return _either(weight, scale, self._spread(below, weight.shape[1])).to(torch.int8)
        return _round(weight, scale, self.format).to(torch.int8)

    def values(self, codes: Tensor) -> Tensor:
        """The float32 matrix (N, K) that codes stand for."""
        scale = self._spread(self.scale, codes.shape[1])
        if self.below is not None:
            scale = torch.where(codes < 0, self._spread(self.below, codes.shape[1]), scale)
        return codes * scale

    def column(self, weights: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """The nearest codes of one column's weights (N,) double, and what they stand for."""
        scale = self.scale[:, column // self.block].double()
        if self.below is None:
            codes = _round(weights, scale, self.format)
            return codes, codes * scale
        below = self.below[:, column // self.block].double()
        codes = _either(weights, scale, below)
        return codes, codes * torch.where(codes < 0, below, scale)

    def _spread(self, value: Tensor, width: int) -> Tensor:
        return value.repeat_interleave(self.block, 1)[:, :width]


def find_grid(weight: Tensor, format: Format, block: int | None = None, search: Search = "mse") -> Grid:
    """The grid of an integer format for a matrix (N, K), with a scale for `block` inputs, or a row's (None).

    Raises InputError for NaN or infinity and for what is no matrix. A group of zeros has scale 1.
    """
    _check(weight)
    blocks = cut(weight.detach().float(), block or weight.shape[1])
    parts = torch.split(blocks, max(1, _AT_ONCE // blocks[0].numel()))
    scale = torch.cat([_searched(part, format, search) for part in parts])
    return Grid(format, block or weight.shape[1], scale)


def ternary_grid(
    weight: Tensor, format: Format, block: int, *, share: Share = "block", rule: Rule = "fitted", search: Search = "mse"
) -> Grid:
    """The grid of ternary codes by a rule of `ternary.py`; a scale that a row or the tensor shares is every block's."""
    _check(weight)
    granularity = {"block": Granularity(1, block), "row": PER_ROW, "tensor": PER_TENSOR}[share]
    found = quantize_ternary(weight, rule, granularity)
    high, low = (_by_block(value, weight, block) for value in (found.high, found.low))
    if not found.symmetric:
        return Grid(format, block, high, -low)
    grid = Grid(format, block, torch.where(high == 0, torch.ones_like(high), high))
    if search != "hqq":
        return grid
    if share == "block":
        blocks = cut(weight.detach().float(), block)
    else:
        blocks = weight.detach().float().reshape(1 if share == "tensor" else len(weight), 1, -1)
    start = grid.scale if share == "block" else grid.scale[: len(blocks), :1]
    robust = _half_quadratic(blocks, start.unsqueeze(-1), format).squeeze(-1)
    return replace(grid, scale=robust.expand_as(grid.scale).contiguous())


def _by_block(value: Tensor, weight: Tensor, block: int) -> Tensor:
    """A scale a tensor, a row or a block, once for every block."""
    rows, blocks = len(weight), math.ceil(weight.shape[1] / block)
    return (value if value.dim() == 2 else value.reshape(-1, 1)).expand(rows, blocks).contiguous()


def _check(weight: Tensor) -> None:
    if weight.dim() != 2 or 0 in weight.shape:
        raise InputError(f"a weight of shape {tuple(weight.shape)} is no matrix to round")
    ranges(weight)  # refuses what is not finite


def _searched(blocks: Tensor, format: Format, search: Search) -> Tensor:
    """The scale of each block (…, 1 dropped)."""
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    # The lowest code reaches furthest where there is no highest one opposite: the scale may be negative (Q4_0).
    first = _usable(largest.abs() / format.high if format.low == -format.high else largest / format.low)
    if search == "nearest":
        return first.squeeze(-1)
    best = _least_squares(blocks, first, format)
    return (_half_quadratic(blocks, best, format) if search == "hqq" else best).squeeze(-1)


def _least_squares(blocks: Tensor, first: Tensor, format: Format) -> Tensor:
    scale, best = first, torch.full_like(first, -math.inf)
    for share in _FEW if format.bits < 7 else _MANY:
        codes = _round(blocks, _usable(first * share), format)
        product, square = (blocks * codes).sum(-1, keepdim=True), codes.square().sum(-1, keepdim=True)
        fitted = product / square.clamp(min=1.0)
        gain = product * fitted  # by how much these codes lower Σw², the error of all zeros
        better = gain > best
        scale, best = torch.where(better, _usable(fitted), scale), torch.where(better, gain, best)
    return scale


def _half_quadratic(blocks: Tensor, scale: Tensor, format: Format) -> Tensor:
    """The scale with the least Σ|w − ŵ|^p among those that the iteration passes, the first one included."""
    size = blocks.abs().mean(-1, keepdim=True).clamp(min=SMALLEST_SCALE)  # β is for weights of about one
    best = least = None
    beta = _BETA
    for _ in range(_STEPS + 1):
        codes = _round(blocks, scale, format)
        error = (blocks - codes * scale) / size
        cost = error.abs().pow(_NORM).sum(-1, keepdim=True)
        if best is None or least is None:
            best, least = scale, cost
        better = cost < least
        best, least = torch.where(better, scale, best), torch.where(better, cost, least)
        away = error.abs()
        shrunk = error.sign() * (away - away.clamp(min=1e-8).pow(_NORM - 1) / beta).clamp(min=0.0)
        square = codes.square().sum(-1, keepdim=True)
        fitted = ((blocks - shrunk * size) * codes).sum(-1, keepdim=True) / square.clamp(min=1.0)
        scale = torch.where(square > 0, _usable(fitted), scale)
        beta *= _GROWTH
    return scale if best is None else best


def _round(weight: Tensor, scale: Tensor, format: Format) -> Tensor:
    return torch.clamp(torch.round(weight / scale), format.low, format.high)


def _either(weight: Tensor, high: Tensor, below: Tensor) -> Tensor:
    """Ternary codes between two scales: the nearest of −below, 0 and high."""
    return (weight > high / 2).to(weight.dtype) - (weight < -below / 2).to(weight.dtype)


def _usable(scale: Tensor) -> Tensor:
    """Away from zero, where a division would overflow; 1 for a block of zeros."""
    floored = torch.where(scale < 0, scale.clamp(max=-SMALLEST_SCALE), scale.clamp(min=SMALLEST_SCALE))
    return torch.where(scale == 0, torch.ones_like(scale), floored)
