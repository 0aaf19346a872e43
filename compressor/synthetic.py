"""Seeded values for inputs that nobody gave.

floats              standard normal
indices             uniform below the length of the smallest table that they index (`ranges.py`)
other integers      0 or 1, the first along the last axis 1, so that as a mask they hide no whole row
uint8               0 … 255
booleans            true
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.ranges import index_bounds

__all__ = ["Slot", "accepts", "draw", "fitting_bounds"]


@dataclass(frozen=True)
class Slot:
    """The dtype and shape of one value to draw."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def is_integer(self) -> bool:
        return not (self.dtype.is_floating_point or self.dtype.is_complex or self.dtype == torch.bool)


def draw(slot: Slot, bound: int | None, generator: torch.Generator) -> Tensor:
    """One value; `bound` is one more than the largest index, or None where the integer indexes nothing."""
    if slot.dtype == torch.bool:
        return torch.ones(slot.shape, dtype=torch.bool)
    if slot.dtype.is_complex:
        return torch.randn(slot.shape, dtype=slot.dtype, generator=generator)
    if not slot.is_integer:
        return torch.randn(slot.shape, generator=generator).to(slot.dtype)
    if bound is None and slot.dtype == torch.uint8:
        bound = 256
    if bound is not None:
        return torch.randint(max(bound, 1), slot.shape, generator=generator).to(slot.dtype)
    mask = torch.randint(2, slot.shape, generator=generator).to(slot.dtype)
    (mask[..., :1] if slot.shape else mask).fill_(1)
    return mask


def fitting_bounds(run: Callable[[Sequence[Tensor]], object], slots: Sequence[Slot], seed: int) -> list[int | None]:
    """The bound of each slot, such that `run` accepts values below it.

    The bounds read off the graph miss what arithmetic adds to an index: while values at the bound are refused, the
    bounds are halved. A model that refuses even zeros keeps the first bounds, and its error comes out where it is run
    for good.
    """
    if not any(slot.is_integer for slot in slots):
        return [None] * len(slots)
    zeros = [torch.zeros(s.shape, dtype=s.dtype) if s.is_integer else draw(s, None, _seeded(seed)) for s in slots]
    first = index_bounds(lambda: run(zeros), zeros)
    bounds = first
    while not accepts(run, [_extreme(slot, bound, seed) for slot, bound in zip(slots, bounds, strict=True)]):
        if bounds is first and not accepts(run, zeros):
            return first
        if all(bound is None or bound <= 1 for bound in bounds):
            return first
        bounds = [bound and max(bound // 2, 1) for bound in bounds]
    return bounds


def accepts(run: Callable[[Sequence[Tensor]], object], values: Sequence[Tensor]) -> bool:
    """Whether the model runs on these values."""
    try:
        with torch.no_grad():
            run(values)
    except Exception:  # noqa: BLE001  the user's model may raise anything; the question is only whether it does
        return False
    return True


def _extreme(slot: Slot, bound: int | None, seed: int) -> Tensor:
    """A drawn value that holds its bound's largest index."""
    value = draw(slot, bound, _seeded(seed))
    if bound is not None and value.numel():
        value.view(-1)[-1] = bound - 1
    return value


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
