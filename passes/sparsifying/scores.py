"""What a weight is worth.

    wanda       |W_ij| · ‖X_j‖₂       compared within each output's row
    magnitude   |W_ij|                a share is taken from the whole matrix
    random      uniform in (0, 1)     the floor that a score has to beat

(Sun et al., 2023, A Simple and Effective Pruning Approach for Large Language Models, arXiv:2306.11695.)
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Ranking", "Score", "ranking"]

Score = Literal["auto", "wanda", "magnitude", "random"]
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Ranking:
    """How one matrix (outputs × inputs) is scored: by ‖X_j‖₂ and the weights, by `noise`, or by the weights alone."""

    norms: Tensor | None = None
    noise: Tensor | None = None

    def of(self, weights: Tensor, columns: slice = EVERYTHING) -> Tensor:
        """Scores of the weights in these columns, as they are by now."""
        if self.noise is not None:
            return self.noise[:, columns]
        return weights.abs() if self.norms is None else weights.abs() * self.norms[columns]


def ranking(score: str, matrix: Tensor, squares: Tensor | None, name: str, seed: int) -> Ranking:
    """For one group of a layer: `squares` are the Σx² of its inputs; noise depends on the layer's name and the seed."""
    if score == "random":
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(name.encode()))
        return Ranking(noise=torch.rand(matrix.shape, generator=generator))
    return Ranking(squares.sqrt() if score == "wanda" and squares is not None else None)
