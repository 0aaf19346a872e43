"""Randomized parameter sharing: many weights are views into one array ψ of m slots, by a map that a seed regenerates.

    w[q·m + t] = sign_q(t) · ψ[π_q(t)]         π_q: a permutation of the m slots for each partition q of m weights
    ψ[s]       = Σ λ·sign·w / Σ λ²             over the weights of slot s: least squares of trained ones, λ·sign·ψ

Every slot holds ⌊n/m⌋ or ⌈n/m⌉ of n weights, and with m ≥ n each has one of its own: nothing is lost. (Desai,
Shrivastava, 2023, In defense of parameter sharing for model-compression, arXiv:2310.11611: STABLE-RPS.) The paper draws
its permutations; here they have a closed form, so that a runtime can compute them where the weights are expanded and
no index is stored. The slots are a grid of R × C; each partition moves columns by a function of the row, then rows by
one of the column, so that what two partitions tie together is related by three rounds of a Feistel network (Luby,
Rackoff, 1988: no simple rule is left):

    j ← (j + f(i)) mod C,   i ← (i + g(j)) mod R,   π = i·C + j      f, g: (a·x² + b·x + c) mod 2³¹ − 1
    sign = u(i) · v(j), of the weight's own place                    u, v: such a polynomial's parity

Gradient scaling: ∂L/∂ψ[s] is divided by Σ λ² of its slot. A step along it is the one that comes nearest to the dense
network's step on each weight, whatever the layers' scales λ; without compression it is that very step.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["PRIME", "Grid", "coefficients", "expand_slots", "fit_slots", "grid_of", "slots_of"]

PRIME = 2**31 - 1
_TABLES = 4  # f, g, u, v


@dataclass(frozen=True)
class Grid:
    """The slots as rows × columns, and in how many partitions the weights lie on them."""

    rows: int
    columns: int
    partitions: int

    @property
    def slots(self) -> int:
        return self.rows * self.columns


def grid_of(weights: int, slots: int) -> Grid:
    """The nearly square grid of `slots` slots, a few more where they do not fill one.

    Raises ValueError where there is nothing to lay out.
    """
    if weights < 1 or slots < 1:
        raise ValueError(f"{weights} weights in {slots} slots")
    rows = math.isqrt(slots)
    columns = -(-slots // rows)
    return Grid(rows, columns, -(-weights // (rows * columns)))


def coefficients(grid: Grid, seed: int) -> Tensor:
    """a, b and c of every table in every partition: int64, tables × 3 × partitions × 1. The same on any machine."""
    found = [
        [_drawn(f"{seed}:{table}:{partition}") for partition in range(grid.partitions)] for table in range(_TABLES)
    ]
    return torch.tensor(found, dtype=torch.int64).permute(0, 2, 1).unsqueeze(-1)


def slots_of(weights: int, grid: Grid, seed: int) -> tuple[Tensor, Tensor]:
    """For each of `weights` weights in a row: its slot (int64) and its sign (int8)."""
    slots, signs = _map(grid, seed)
    return slots[:weights], signs[:weights]


def fit_slots(values: Tensor, scales: Tensor, grid: Grid, seed: int) -> Tensor:
    """The slots (m) with which λ·sign·ψ is nearest to `values` (n), weights in a row; `scales` (n) are their λ."""
    slots, signs = slots_of(values.numel(), grid, seed)
    scales = scales.double()
    above = torch.zeros(grid.slots, dtype=torch.float64).index_add_(0, slots, scales * signs * values.double())
    below = torch.zeros(grid.slots, dtype=torch.float64).index_add_(0, slots, scales.square())
    return (above / below.clamp_min(torch.finfo(torch.float64).tiny)).to(values.dtype)


@torch.library.custom_op("compressor::expand_slots", mutates_args=())
def expand_slots(psi: Tensor, rows: int, seed: int, sizes: Sequence[int], scales: Sequence[float]) -> Tensor:
    """psi (m), m a multiple of `rows` → all weights in a row (Σ sizes), without their layers' scales.

    `sizes` and `scales` are those of the layers in a row: the gradient is divided by Σ λ² of each slot.
    """
    grid = _grid(psi, rows, sizes)
    slots, signs = slots_of(sum(sizes), grid, seed)
    return psi[slots.to(psi.device)] * signs.to(psi)


@expand_slots.register_fake
def _(psi: Tensor, rows: int, seed: int, sizes: Sequence[int], scales: Sequence[float]) -> Tensor:
    return psi.new_empty(sum(sizes))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    psi, ctx.rows, ctx.seed, ctx.sizes, ctx.scales = inputs
    ctx.like = psi.new_empty(0), psi.numel()


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    like, count = ctx.like
    grid = Grid(ctx.rows, count // ctx.rows, -(-sum(ctx.sizes) // count))
    slots, signs = (part.to(gradient.device) for part in slots_of(sum(ctx.sizes), grid, ctx.seed))
    total = gradient.new_zeros(count).index_add_(0, slots, gradient * signs)
    weights = _weights(grid, ctx.seed, tuple(ctx.sizes), tuple(ctx.scales)).to(gradient)
    return (total / weights).to(like), None, None, None, None


expand_slots.register_autograd(_gradient, setup_context=_keep)


def _grid(psi: Tensor, rows: int, sizes: Sequence[int]) -> Grid:
    return Grid(rows, psi.numel() // rows, -(-sum(sizes) // psi.numel()))


@functools.lru_cache(maxsize=4)
def _weights(grid: Grid, seed: int, sizes: tuple[int, ...], scales: tuple[float, ...]) -> Tensor:
    """Σ λ² of each slot; 1 where no weight is."""
    slots, _ = slots_of(sum(sizes), grid, seed)
    each = torch.cat([torch.full((size,), scale**2) for size, scale in zip(sizes, scales, strict=True)])
    found = torch.zeros(grid.slots).index_add_(0, slots, each)
    return torch.where(found > 0, found, 1.0)


@functools.lru_cache(maxsize=4)
def _map(grid: Grid, seed: int) -> tuple[Tensor, Tensor]:
    """Slot and sign of every position of every partition."""
    tables = coefficients(grid, seed)
    shape = (grid.partitions, grid.rows, grid.columns)
    i = torch.arange(grid.rows)[None, :, None].expand(shape).reshape(grid.partitions, -1)
    j = torch.arange(grid.columns)[None, None].expand(shape).reshape(grid.partitions, -1)
    signs = _parity(tables[2], grid.rows)[:, :, None] * _parity(tables[3], grid.columns)[:, None]
    j = (j + _table(tables[0], grid.rows, grid.columns).gather(1, i)) % grid.columns
    i = (i + _table(tables[1], grid.columns, grid.rows).gather(1, j)) % grid.rows
    return (i * grid.columns + j).flatten(), signs.to(torch.int8).flatten()


def _table(drawn: Tensor, size: int, modulus: int) -> Tensor:
    """((a·x + b) · x + c) mod p mod `modulus` for x below `size`: partitions × size."""
    x = torch.arange(size)
    a, b, c = drawn
    found: Tensor = ((a * x + b) % PRIME * x + c) % PRIME % modulus
    return found


def _parity(drawn: Tensor, size: int) -> Tensor:
    return 1 - 2 * _table(drawn, size, 2)


def _drawn(key: str) -> list[int]:
    """Three numbers below the prime, the first not 0."""
    digest = hashlib.sha256(key.encode()).digest()
    a, b, c = (int.from_bytes(digest[8 * place : 8 * place + 8], "big") for place in range(3))
    return [1 + a % (PRIME - 1), b % PRIME, c % PRIME]
