"""What transfer is measured beside: one scale, one scale a format, and a matrix of low rank.

scale    log t = x_m + median_S(y − x),   x the mean over source devices at equal speed
rank r   log t = μ_m + u_m·a,   U the first r principal axes of the sources, a by ridge regression on the samples
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressor.devices.latency.boards.table import Floats, LatencyTable

__all__ = ["LowRank", "Scale"]


class Scale:
    """One factor for all models, or one for each format."""

    def __init__(self, table: LatencyTable, formats: Mapping[str, str] | None = None) -> None:
        logs = table.logs
        shape = np.nanmean(logs - np.nanmean(logs, axis=0), axis=1)
        self._shape = dict(zip(table.models, shape, strict=True))
        self._formats = formats or dict.fromkeys(table.models, "")

    def predict(self, samples: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by model; a format without a sample gets the factor of all."""
        ratios = {model: float(np.log(value)) - self._shape[model] for model, value in samples.items()}
        overall = float(np.median(list(ratios.values())))
        factors = {}
        for kind in set(self._formats.values()):
            own = [ratio for model, ratio in ratios.items() if self._formats[model] == kind]
            factors[kind] = float(np.median(own)) if own else overall
        return {model: float(np.exp(x + factors[self._formats[model]])) for model, x in self._shape.items()}


class LowRank:
    """Iterated principal components, holes filled by the model itself."""

    def __init__(self, table: LatencyTable, rank: int = 6, steps: int = 40) -> None:
        self._models, logs = table.models, table.logs
        holes = np.isnan(logs)
        level = np.nanmean(logs, axis=0)
        shape = np.nanmean(logs - level, axis=1)
        filled = np.where(holes, shape[:, None] + level, logs)
        for _ in range(steps):
            self._mean = filled.mean(1)
            axes, sizes, columns = np.linalg.svd(filled - self._mean[:, None], full_matrices=False)
            kept = min(rank, len(sizes))
            model = self._mean[:, None] + (axes[:, :kept] * sizes[:kept]) @ columns[:kept]
            filled = np.where(holes, model, logs)
        self._loadings: Floats = axes[:, :kept] * sizes[:kept] / np.sqrt(logs.shape[1])

    def predict(self, samples: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by model."""
        rows = [self._models.index(model) for model in samples]
        known = self._loadings[rows]
        apart = np.log(list(samples.values())) - self._mean[rows]
        factors = np.linalg.solve(known.T @ known + 5e-3 * np.eye(known.shape[1]), known.T @ apart)
        return dict(zip(self._models, np.exp(self._mean + self._loadings @ factors).tolist(), strict=True))
