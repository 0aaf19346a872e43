"""The Gaussian that source devices make of log latencies, learned by expectation–maximization with missing entries.

    x_j ~ N(μ, Σ / u_j),   u_j = (ν + n_j) / (ν + (x_j − μ)ᵀ Σ⁻¹ (x_j − μ))        (multivariate t: outliers count less)
    Σ ← ((B − 1) S + K) / B                                                        (inverse Wishart around K)

x_j are the logs of device j's latencies, B counts boards: columns of one board share the weight √(columns), and B − 1
is what S, their weighted scatter, is worth beside the kernel K of side information. Dempster, Laird, Rubin (1977);
Lange, Little, Taylor: Robust statistical modeling using the t distribution (1989).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compressor.devices.latency.boards.table import Floats, Indices, LatencyTable

__all__ = ["NOISE", "Prior", "conditional", "learned_prior"]

NOISE = 2e-3  # variance of a log latency measured again, (4.5%)²: boards of one type differ by 0.89 to 1.10
_FREEDOM = 4.0  # ν of the t distribution; 4 is Lange's choice
_STEPS = 15


@dataclass(frozen=True, eq=False)
class Prior:
    """Mean (models,), covariance (models, models), the columns with holes filled (models, devices), their weights.

    `trust` is u of every column, `uncertain` the summed covariance of what was filled, `anchor` K with the speed.
    """

    mean: Floats
    covariance: Floats
    columns: Floats
    weights: Floats
    trust: Floats
    uncertain: Floats
    anchor: Floats

    def without(self, board: int, boards: Indices) -> Prior:
        """As if `board` had not been there: the last maximization without its columns, whose boards are `boards`."""
        weights = np.where(boards == board, 0.0, self.weights)
        uncertain = self.uncertain * weights.sum() / self.weights.sum()
        count = len(set(boards.tolist())) - 1
        mean, covariance = _maximized(self.columns, weights, self.trust, uncertain, self.anchor, count)
        return replace(self, mean=mean, covariance=covariance)


def learned_prior(table: LatencyTable, kernel: Floats) -> Prior:
    """From the columns of a table, around `kernel` of shape (models, models)."""
    logs, count = table.logs, {board: table.boards.count(board) for board in table.boards}
    weights = np.array([count[board] ** -0.5 for board in table.boards])
    speeds = np.nanmean(logs, axis=0)
    mean = np.nanmean(logs - speeds, axis=1) + np.average(speeds, weights=weights)
    anchor = kernel + float(np.var(speeds)) + 0.1  # what all models share: how much boards differ in speed
    covariance = anchor
    for _ in range(_STEPS):
        filled, uncertain, trust = _expectation(logs, mean, covariance, weights)
        mean, covariance = _maximized(filled, weights, trust, uncertain, anchor, len(count))
    return Prior(mean, covariance, filled, weights, trust, uncertain, anchor)


def conditional(mean: Floats, covariance: Floats, rows: Indices, logs: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of every model, both (models,), given noisy `logs` (samples,) of the models in `rows`."""
    inner = covariance[np.ix_(rows, rows)] + NOISE * np.eye(len(rows))
    gain = np.linalg.solve(inner, covariance[rows]).T
    variance = np.diag(covariance) - np.einsum("ij,ji->i", gain, covariance[rows])
    return mean + gain @ (logs - mean[rows]), np.maximum(variance, 0.0)


def _expectation(logs: Floats, mean: Floats, covariance: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """The columns filled, the covariance of what was filled (weighted sum), and every column's trust u."""
    filled, uncertain, trust = logs.copy(), np.zeros_like(covariance), np.ones(logs.shape[1])
    for j, column in enumerate(logs.T):
        seen = np.flatnonzero(~np.isnan(column))
        inner = covariance[np.ix_(seen, seen)] + NOISE / 2 * np.eye(len(seen))
        gain = np.linalg.solve(inner, covariance[seen]).T
        apart = column[seen] - mean[seen]
        trust[j] = (_FREEDOM + len(seen)) / (_FREEDOM + float(apart @ np.linalg.solve(inner, apart)))
        filled[:, j] = mean + gain @ apart
        uncertain += weights[j] * (covariance - gain @ covariance[seen])
    return filled, uncertain, trust


def _maximized(
    filled: Floats, weights: Floats, trust: Floats, uncertain: Floats, anchor: Floats, boards: int
) -> tuple[Floats, Floats]:
    """Mean and covariance of the filled columns."""
    counted = weights * trust
    mean = (filled * counted).sum(1) / counted.sum()
    centred = filled - mean[:, None]
    scatter = ((centred * counted) @ centred.T + uncertain) / weights.sum()
    return mean, ((boards - 1) * scatter + anchor) / boards
