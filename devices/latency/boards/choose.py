"""Which models to measure on a new device, one after another, each the one that helps most.

By variance (few boards):     argmax_c Σ_m Σ_mc² / (Σ_cc + σ²),   Σ conditioned on what is chosen      (A-optimality)
By the source devices:        argmax_c Σ_j w_j Σ_m exp(−e_mj² / 2τ²),   e the errors on device j when S ∪ {c} is known

τ = 10%: what counts is how many models come out within it, not how far off the hopeless ones are. Settles: Active
Learning Literature Survey (2009), section 3.5; Krause, Singh, Guestrin (2008) on greedy selection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.devices.latency.boards.prior import NOISE, Prior
from compressor.devices.latency.boards.table import Floats

__all__ = ["by_sources", "by_variance"]

_CLOSE = 0.1


def by_variance(covariance: Floats, count: int, among: Sequence[int]) -> list[int]:
    """`count` rows out of `among`, by what each leaves of the variances of these."""
    left, chosen, pool = covariance.copy(), list[int](), list(among)
    for _ in range(count):
        gains = {c: float((left[pool, c] ** 2).sum() / (left[c, c] + NOISE)) for c in pool if c not in chosen}
        best = max(gains, key=lambda c: gains[c])
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + NOISE)
    return chosen


def by_sources(prior: Prior, count: int, among: Sequence[int]) -> list[int]:
    """`count` rows out of `among`, by how many of the others come out right on the source devices."""
    chosen: list[int] = []
    for _ in range(count):
        scores = {c: _score(prior, [*chosen, c], among) for c in among if c not in chosen}
        chosen.append(max(scores, key=lambda c: scores[c]))
    return chosen


def _score(prior: Prior, rows: list[int], among: Sequence[int]) -> float:
    rest = [row for row in among if row not in rows]
    if not rest:
        return 0.0
    inner = prior.covariance[np.ix_(rows, rows)] + NOISE * np.eye(len(rows))
    gain = np.linalg.solve(inner, prior.covariance[np.ix_(rows, rest)]).T
    centred = prior.columns - prior.mean[:, None]
    errors = centred[rest] - gain @ centred[rows]
    return float((np.exp(-((errors / _CLOSE) ** 2) / 2).mean(0) * prior.weights).sum())
