"""A matrix as a fixed pattern of square blocks plus a product of two thin ones: flat block butterfly and low rank.

    W ≈ B∘M + U·V        M: block row i has blocks i, i ⊕ 1, i ⊕ 2, i ⊕ 4, … of its inputs, B whole blocks of 32

M is the butterfly's product of factors flattened to their sum, so that one multiplication of dense blocks is left
(Dao et al., 2021, Pixelated Butterfly, arXiv:2112.00029). Where outputs and inputs have different numbers of blocks the
pattern is stretched, and where i ⊕ 2ᵏ is none of the inputs' the next block that is not taken stands in for it.

    B_i = (W − U·V)_i G_:S (G_SS)⁻¹,  S the inputs of block row i        U·V = the cut of W − B∘M on G = E[x·xᵀ]

Each is the best for the other given; they take turns, so that the output error falls with every turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.passes.factorizing.svd import DAMPING, decompose, definite

__all__ = ["BLOCK", "Butterfly", "butterfly", "pattern"]

BLOCK = 32  # outputs and inputs of a block: what vector units and caches take at once
TURNS = 4


@dataclass(frozen=True)
class Butterfly:
    """V (rank × inputs), U (outputs × rank), the blocks (block rows × their inputs × 32 outputs), and which blocks of
    the inputs each block row reads (block rows × count)."""

    first: Tensor
    second: Tensor
    blocks: Tensor
    columns: Tensor

    @property
    def product(self) -> Tensor:
        """Outputs × inputs."""
        return self.second @ self.first + self.sparse

    @property
    def sparse(self) -> Tensor:
        """B∘M: outputs × inputs."""
        found = torch.zeros(len(self.second), self.first.shape[1], dtype=self.blocks.dtype)
        for row, (block, columns) in enumerate(zip(self.blocks, self.columns, strict=True)):
            found[row * BLOCK : (row + 1) * BLOCK, _places(columns)] = block.T
        return found


def pattern(outputs: int, inputs: int, count: int) -> Tensor:
    """The blocks of the inputs that each block row reads, `count` of them, all different.

    Raises InputError for sizes that are no multiples of 32, and for more blocks than there are.
    """
    rows, columns = outputs // BLOCK, inputs // BLOCK
    if outputs % BLOCK or inputs % BLOCK or not 1 <= count <= columns:
        raise InputError(f"{outputs} × {inputs} has no pattern of {count} blocks of {BLOCK} in each row")
    return torch.tensor([_row(row * columns // rows, columns, count) for row in range(rows)])


def butterfly(
    matrix: Tensor, rank: int, count: int, gram: Tensor | None = None, columns: Tensor | None = None
) -> Butterfly:
    """A matrix (outputs × inputs) with `count` blocks a block row and a product of `rank` beside them.

    `gram` is E[x·xᵀ] or Σ x·xᵀ of the inputs; `columns` another pattern than the butterfly's.
    Raises InputError for sizes that do not go together.
    """
    columns = pattern(matrix.shape[0], matrix.shape[1], count) if columns is None else columns
    weight = matrix.detach().double()
    moments = None if gram is None else definite(gram.detach().double(), DAMPING)[0]
    found = Butterfly(torch.zeros(rank, weight.shape[1]), torch.zeros(len(weight), rank), torch.empty(0), columns)
    rest = weight
    for _ in range(TURNS):
        blocks = _blocks(rest, columns, moments)
        sparse = Butterfly(found.first, found.second, blocks, columns).sparse
        factors = decompose(weight - sparse, moments, damping=1e-12).cut(rank)
        found, rest = Butterfly(factors.first, factors.second, blocks, columns), weight - factors.product
    return Butterfly(found.first, found.second, _blocks(rest, columns, moments), columns)


def _row(start: int, columns: int, count: int) -> list[int]:
    """Its own block, then its partners of the butterfly's factors, then whatever comes next."""
    found = [start]
    for step in range(columns):
        if len(found) == count:
            break
        partner = start ^ (1 << step) if (1 << step) < columns else start
        while partner >= columns or partner in found:
            partner = (partner + 1) % columns
        found.append(partner)
    return found


def _places(columns: Tensor) -> Tensor:
    return (columns[:, None] * BLOCK + torch.arange(BLOCK)).flatten()


def _blocks(rest: Tensor, columns: Tensor, gram: Tensor | None) -> Tensor:
    found = []
    for row, each in enumerate(columns):
        places, mine = _places(each), rest[row * BLOCK : (row + 1) * BLOCK]
        if gram is None:
            found.append(mine[:, places].T)
        else:
            lower = torch.linalg.cholesky(gram[places][:, places])
            found.append(torch.cholesky_solve((mine @ gram[:, places]).T, lower))
    return torch.stack(found)
