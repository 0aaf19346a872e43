"""Which ranks a layer can have: by the share of its weights that stays, and on widths that the target runs well.

two layers      r·(m + n)               fewer than m·n only where r < m·n / (m + n)
Tucker-2        i·q + p·q·r + r·m       m outputs, n = p·i inputs: i channels at p positions of the kernel
butterfly       r·(m + n) + 32·c·m      c blocks of 32 × 32 in each row of them

rank = ⌊keep · m·n / (m + n)⌋, down to a multiple       q, r = α·i, α·m with the same number of weights
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from compressor.passes.factorizing.butterfly import BLOCK
from compressor.passes.factorizing.settings import Choice

__all__ = ["Shape", "flat_twin", "ladder", "landed", "pair_rank", "twin"]

THIN = 0.3  # of a butterfly's weights that low rank has, at least: a quarter to a third in the paper
RUNGS = 12  # ranks of a layer that the latency model is asked about


@dataclass(frozen=True)
class Shape:
    """A layer's matrix: outputs × (positions of the kernel · input channels)."""

    outputs: int
    channels: int
    positions: int = 1

    @property
    def inputs(self) -> int:
        return self.channels * self.positions

    @property
    def dense(self) -> int:
        """Weights of the layer as it is."""
        return self.outputs * self.inputs

    @property
    def blocked(self) -> bool:
        """Whether it is made of whole blocks."""
        return self.positions == 1 and self.outputs % BLOCK == 0 and self.inputs % BLOCK == 0

    @property
    def full(self) -> int:
        """The rank that loses nothing."""
        return min(self.outputs, self.inputs)

    @property
    def break_even(self) -> int:
        """The largest rank of two layers that hold fewer weights than the one; 0 where there is none."""
        return min((self.dense - 1) // (self.outputs + self.inputs), self.full)

    def weights(self, choice: Choice) -> int:
        """Weights of the layers that a choice makes of it."""
        if not choice.inner:
            return choice.rank * (self.outputs + self.inputs) + choice.blocks * BLOCK * self.outputs
        thin = choice.inner * (self.channels + self.positions * choice.rank)
        return thin + choice.rank * self.outputs

    def fits(self, choice: Choice) -> bool:
        """Whether there are such ranks."""
        if choice.blocks and not (self.blocked and choice.blocks <= self.inputs // BLOCK):
            return False
        wide = self.positions * choice.inner if choice.inner else self.inputs
        return 1 <= choice.rank <= min(self.outputs, wide) and 0 <= choice.inner <= self.channels


def pair_rank(shape: Shape, keep: float, multiple: int) -> int:
    """The largest rank, on a multiple, at which two layers hold this share of the weights at most; 1 at least."""
    return landed(math.floor(keep * shape.dense / (shape.outputs + shape.inputs) + 1e-9), multiple)


def landed(rank: int, multiple: int) -> int:
    """Down to a multiple; a rank too small for two of them uses the largest half, quarter, … that fits twice."""
    step = max(multiple, 1)
    while step > 1 and rank < 2 * step:
        step //= 2
    return max(rank // step * step, 1)


def ladder(shape: Shape, multiple: int) -> list[int]:
    """Ranks below break-even on multiples, ascending, evenly spread where there are many."""
    most = landed(shape.break_even, multiple) if shape.break_even else 0
    step = multiple if most >= 2 * multiple else max(most // 2, 1)
    every = sorted({*range(step, most + 1, max(step, 1)), most} - {0})
    count = min(len(every), RUNGS)
    return sorted({every[round((index + 1) * len(every) / count) - 1] for index in range(count)}) if every else []


def twin(shape: Shape, pair: Choice, multiple: int) -> Choice | None:
    """Tucker-2 with as many weights as the pair at most, both widths cut by the same share; None where there is none.

    α solves p·i·m·α² + (i² + m²)·α = weights.
    """
    if shape.positions == 1:
        return None
    square, linear = shape.dense, shape.channels**2 + shape.outputs**2
    share = (math.sqrt(linear**2 + 4 * square * shape.weights(pair)) - linear) / (2 * square)
    rank, inner = (landed(int(share * width), multiple) for width in (shape.outputs, shape.channels))
    found = replace(pair, rank=rank, inner=inner)
    useful = shape.fits(found) and inner < shape.channels and shape.weights(found) <= shape.weights(pair)
    return found if useful else None


def flat_twin(shape: Shape, pair: Choice, multiple: int) -> Choice | None:
    """Blocks and low rank with as many weights as the pair at most; None where there is none."""
    room, row = shape.weights(pair), BLOCK * shape.outputs
    count = min(max(int((1 - THIN) * room / row), 1), shape.inputs // BLOCK)
    rank = (room - count * row) // (shape.outputs + shape.inputs)
    found = replace(pair, rank=landed(rank, multiple), blocks=count)
    return found if rank >= 1 and shape.fits(found) else None
