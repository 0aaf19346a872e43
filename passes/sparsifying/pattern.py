"""Which weights become zero: N of every M consecutive inputs stay, or a share of all goes.

    2of4     of each four consecutive inputs of an output, the two with the highest scores stay
    0.5      of each row of scores, the half with the lowest goes

N of M is spelled as NVIDIA does: N is what stays. A share, as in every pass, is what goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import RecipeError

__all__ = ["Pattern", "parse_pattern"]

LARGEST = 32  # inputs in a group
_GROUPS = re.compile(r"(\d{1,2})of(\d{1,2})")


@dataclass(frozen=True)
class Pattern:
    """`kept` of every `group`, or where `group` is 0, all but a `share`."""

    text: str
    kept: int = 0
    group: int = 0
    share: float = 0.0

    def mask(self, scores: Tensor) -> Tensor:
        """True where a weight stays, for rows of scores. Of equal scores, those of earlier inputs stay."""
        rows = scores.reshape(*scores.shape[:-1], -1, self.group) if self.group else scores
        kept = self.kept if self.group else rows.shape[-1] - round(self.share * rows.shape[-1])
        best = rows.sort(dim=-1, descending=True, stable=True).indices[..., :kept]
        return torch.zeros_like(rows, dtype=torch.bool).scatter_(-1, best, True).reshape(scores.shape)


def parse_pattern(text: str, where: str) -> Pattern:
    """`2of4` or `0.5`. Raises RecipeError."""
    way_out = "Write how many of how many stay, 2of4, or the share that goes, 0.5."
    match = _GROUPS.fullmatch(text.strip())
    if match:
        kept, group = int(match[1]), int(match[2])
        if not 0 < kept < group <= LARGEST:
            raise RecipeError(
                f"{text} is no pattern: fewer stay than the group's {LARGEST} at most",
                where=where,
                way_out=way_out,
            )
        return Pattern(f"{kept}of{group}", kept, group)
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise RecipeError(f"pattern is {text!r}", where=where, way_out=way_out)
    return Pattern(text.strip(), share=share)
