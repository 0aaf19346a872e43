"""The prior seen from the samples: source devices on which the sampled models relate as on the new one count more.

    x'_j = x_j + mean(y − x_j[S]),   d_j² = mean((x'_j[S] − y)²),   w_j ← w_j exp(−d_j² / 2ℓ²)
    μ' = (Σ w_j x'_j + 0.1 κ x̄') / (Σ w_j + 0.1 κ),   Σ' = (B' S' + κ P Σ Pᵀ) / (B' + κ)

S are the sampled rows, y their logs. x' is x at the new device's speed, so speed itself has a flat prior; P takes off
the mean over S. B' counts the boards that resemble, less one. Locally weighted learning: Atkeson, Moore,
Schaal (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressor.devices.latency.boards.prior import Prior
from compressor.devices.latency.boards.table import Floats, Indices

__all__ = ["NEIGHBOURHOODS", "Nearby", "seen_nearby"]

_OFFSET = 0.01  # variance of the alignment itself, which k noisy samples fixed


@dataclass(frozen=True)
class Nearby:
    """ℓ, in log latency: how unlike a device may be and still count; κ: how many boards the global prior is worth."""

    reach: float = 0.2
    global_boards: float = 4.0


NEIGHBOURHOODS = tuple(Nearby(reach) for reach in (0.1, 0.2, 0.5))
"""What `Transfer` chooses ℓ from, by leaving source boards out."""


def seen_nearby(
    prior: Prior, boards: Indices, rows: Indices, logs: Floats, how: Nearby, but: int = -1
) -> tuple[Floats, Floats]:
    """Mean (models,) and covariance (models, models) around the samples `logs` (samples,) of models `rows`.

    `boards` numbers the board of every column; columns of the board `but` are ignored, for leaving it out.
    """
    aligned = prior.columns + (logs.mean() - prior.columns[rows].mean(0))
    apart = ((aligned[rows] - logs[:, None]) ** 2).mean(0)
    kept = boards != but
    nearest = apart[kept].min()
    reach = max(how.reach**2, nearest)
    weights = np.where(kept, prior.weights * np.exp((nearest - apart) / (2 * reach)), 0.0)
    weights = weights / weights.max()
    overall = (aligned * prior.weights * kept).sum(1) / (prior.weights * kept).sum()
    pull, total = 0.1 * how.global_boards, weights.sum()
    mean = ((aligned * weights).sum(1) + overall * pull) / (total + pull)
    centred = aligned - mean[:, None]
    scatter = (centred * weights) @ centred.T / total
    shared = prior.covariance[rows].mean(0)  # with what the sampled models have in common
    alike = _boards_alike(weights, boards) - 1
    shape = prior.covariance - shared[:, None] - shared[None] + shared[rows].mean()
    return mean, (alike * scatter + how.global_boards * shape) / (alike + how.global_boards) + _OFFSET


def _boards_alike(weights: Floats, boards: Indices) -> float:
    """How many boards count: each as much as its nearest column."""
    best = np.zeros(int(boards.max()) + 1)
    np.maximum.at(best, boards, weights)
    return float(best.sum())
