"""One group's law: a non-negative sum of terms, times a bounded correction by features.

    t = Σ_j c_j T_j · exp(r(x)),    c = argmin_{0 ≤ c ≤ 3s} Σ_i w_i (Σ_j c_j T_ij / t_i − 1)² + λ Σ_j m_j² (c_j − s)²

T are nominal microseconds of each kind of work, so a price c_j is a multiple of its nominal one; s, the group's median
multiple, is where prices are pulled to that few samples tell (m_j: the root mean square of T_ij / t_i). w_i are by the
call's share of its network's time, and less for outliers (Huber). r is ridge regression plus boosted trees
(`trees.py`), within ±`_SIZE_BOUND` where it depends on sizes. Times are in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.devices.latency.laws.numbers import Numbers
from compressor.devices.latency.laws.trees import Trees, fit_trees

__all__ = ["STAGES", "Floats", "Law", "bent", "fit_law", "within"]

Floats = NDArray[np.float64]
STAGES = ("terms", "ridge", "trees")  # each with what comes before it
_PULL = 4.0  # samples that the nominal prices count as much as
_DEAREST = 3.0  # times its nominal price a term costs at most, so that it stays what its name says
_HUBER = 0.15  # log error from which a sample counts less
_ROUNDS = 12
_RIDGE = 8.0
_BOUND = 0.7  # of the correction, log
_TILT = 0.4
_MANY, _FOR_TREES = 10, 30  # samples


@dataclass(frozen=True)
class Law:
    """`prices` by term; `scale` prices a term that was never seen; `low` and `high` bound the correction's features."""

    prices: Mapping[str, float]
    scale: float
    features: tuple[str, ...] = ()
    centre: Floats = field(default_factory=lambda: np.zeros(0))
    spread: Floats = field(default_factory=lambda: np.zeros(0))
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))
    slopes: Floats = field(default_factory=lambda: np.zeros(0))
    level: float = 0.0
    trees: Trees | None = None
    samples: int = 0
    stage: str = "trees"
    bend: float = 0.0  # b of t = e^a p^(1 + b), a being part of the level

    def predict(self, rows: Sequence[Numbers]) -> Floats:
        """Microseconds of each."""
        return np.asarray(np.exp(self.level) * self._straight(rows) ** (1 + self.bend))

    def _straight(self, rows: Sequence[Numbers]) -> Floats:
        plain = self.sums(rows)
        if self.stage == "terms" or not len(self.slopes):
            return plain
        known = np.clip(_matrix(rows, self.features), self.low, self.high)
        z = (known - self.centre) / self.spread
        correction = z @ self.slopes
        if self.stage == "trees" and self.trees is not None:
            correction = correction + self.trees.predict(z)
        return np.asarray(plain * np.exp(np.clip(correction, -_BOUND, _BOUND)))

    def sums(self, rows: Sequence[Numbers]) -> Floats:
        """Σ c T, before the correction."""
        found = [sum(self.prices.get(k, self.scale) * v for k, v in row.terms.items()) for row in rows]
        return np.maximum(np.array(found, dtype=np.float64), 0.05)

    def beyond(self, rows: Sequence[Numbers]) -> NDArray[np.bool_]:
        """Which rows lie outside what was profiled, in any feature."""
        if not self.features:
            return np.zeros(len(rows), dtype=np.bool_)
        known = _matrix(rows, self.features)
        room = 0.1 * (self.high - self.low) + 1e-9
        return np.asarray(((known < self.low - room) | (known > self.high + room)).any(1))

    def at(self, stage: str) -> Law:
        return replace(self, stage=stage)

    def to_json(self) -> dict[str, Any]:
        arrays = {name: [float(f"{v:.6g}") for v in getattr(self, name)] for name in _ARRAYS}
        prices = {name: float(f"{v:.6g}") for name, v in self.prices.items()}
        own = {
            "scale": self.scale,
            "level": self.level,
            "samples": self.samples,
            "stage": self.stage,
            "bend": self.bend,
        }
        trees = self.trees.to_json() if self.trees is not None and self.stage == "trees" else None
        return {"prices": prices, "features": list(self.features), **arrays, **own, "trees": trees}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Law:
        """Raises KeyError or TypeError for what is none."""
        arrays = {name: np.array(data[name], dtype=np.float64) for name in _ARRAYS}
        trees = None if data["trees"] is None else Trees.from_json(data["trees"])
        known = {**data, **arrays, "features": tuple(data["features"]), "trees": trees}
        return Law(**known)


_ARRAYS = ("centre", "spread", "low", "high", "slopes")


def fit_law(rows: Sequence[Numbers], times: Floats, weights: Floats | None = None, *, stage: str = STAGES[-1]) -> Law:
    """From samples: their numbers, microseconds, and how much each counts; no richer than `stage`."""
    count = len(rows)
    shares = np.ones(count) if weights is None else weights * count / weights.sum()
    law = _fit_prices(rows, times, shares)
    errors = np.log(times / law.sums(rows))
    law = replace(law, level=_middle(errors, shares) * count / (count + 1.0), samples=count, stage=stage)
    if count < _MANY or stage == "terms":
        return law
    features = tuple(sorted({name for row in rows for name in row.features}))
    x = _matrix(rows, features)
    varied = x.std(0) > 1e-6
    features = tuple(name for name, keep in zip(features, varied, strict=True) if keep)
    if not features:
        return law
    x = x[:, varied]
    centre, spread = x.mean(0), x.std(0)
    z = (x - centre) / spread
    left = np.clip(errors - law.level, -_BOUND, _BOUND)
    slopes = _ridge(z, left, shares)
    law = replace(
        law, features=features, centre=centre, spread=spread, low=x.min(0), high=x.max(0), slopes=slopes
    )  # fmt: skip
    if count < _FOR_TREES or stage == "ridge":
        return law
    return replace(law, trees=fit_trees(z, left - z @ slopes, shares))


def bent(law: Law, rows: Sequence[Numbers], times: Floats, weights: Floats) -> Law:
    """The law of the same kernels run otherwise: its logarithm shifted and tilted, by little where samples are few."""
    shares = weights * len(rows) / weights.sum()
    before = np.log(law.predict(rows))
    ratios = np.log(times) - before
    middle = float(shares @ before / shares.sum())
    shift = _middle(ratios, shares) * len(rows) / (len(rows) + 1.0)
    apart = before - middle
    left = np.clip(ratios - shift, -_BOUND, _BOUND)
    tilt = float(np.clip((shares * apart) @ left / ((shares * apart) @ apart + _PULL), -_TILT, _TILT))
    # e^shift p^(1 + tilt) e^(−tilt·middle) with p = e^level q^(1 + bend)
    level = shift - tilt * middle + (1 + tilt) * law.level
    return replace(law, level=level, bend=(1 + tilt) * (1 + law.bend) - 1)


def within(gram: Floats, target: Floats, start: Floats, most: Floats) -> Floats:
    """argmin ½ cᵀ G c − gᵀ c over 0 ≤ c ≤ `most`, by coordinate descent from `start`."""
    found = start.copy()
    for _ in range(300):
        before = found.copy()
        for j in range(len(found)):
            if gram[j, j] > 0:
                found[j] = min(max(0.0, found[j] + (target[j] - gram[j] @ found) / gram[j, j]), most[j])
        if np.abs(found - before).max(initial=0.0) < 1e-6:
            break
    return found


def _fit_prices(rows: Sequence[Numbers], times: Floats, shares: Floats) -> Law:
    names = tuple(sorted({name for row in rows for name in row.terms}))
    nominal = np.array([[row.terms.get(name, 0.0) for name in names] for row in rows])
    ratios = np.log(times / np.maximum(nominal.sum(1), 1e-3))
    scale = float(np.exp(_middle(ratios, shares * times)))  # of the long ones: short ones tell what a call costs
    start = np.full(len(names), scale)
    prices, least = start, 1e-3 * float(times.min())
    for round_ in range(_ROUNDS):
        known = np.maximum(nominal @ prices, least)
        errors = np.log(known / times)
        weights = shares * np.minimum(1.0, _HUBER / np.maximum(np.abs(errors), 1e-9))
        slopes = nominal / known[:, None]  # of the log time
        importance = np.sqrt((weights[:, None] * slopes**2).mean(0)) + 1e-9
        pull = _PULL * importance**2
        gram = slopes.T @ (weights[:, None] * slopes) + np.diag(pull)
        target = slopes.T @ (weights * (1.0 - errors)) + pull * start
        step = within(gram, target, prices, _DEAREST * start)
        prices = prices + (step - prices) * (1.0 if round_ > 2 else 0.6)
    return Law(dict(zip(names, (float(p) for p in prices), strict=True)), scale)


def _ridge(z: Floats, left: Floats, shares: Floats) -> Floats:
    weights = shares.copy()
    slopes: Floats = np.zeros(z.shape[1])
    strength = max(_RIDGE, 0.02 * len(z))
    for _ in range(_ROUNDS):
        gram = z.T @ (weights[:, None] * z) + strength * np.eye(z.shape[1])
        slopes = np.asarray(np.linalg.solve(gram, z.T @ (weights * left)), dtype=np.float64)
        weights = shares * np.minimum(1.0, _HUBER / np.maximum(np.abs(left - z @ slopes), 1e-9))
    return np.asarray(slopes)


def _matrix(rows: Sequence[Numbers], features: Sequence[str]) -> Floats:
    found = [[row.features.get(name, 0.0) for name in features] for row in rows]
    return np.array(found, dtype=np.float64).reshape(len(rows), len(features))


def _middle(values: Floats, shares: Floats) -> float:
    """The weighted median."""
    order = np.argsort(values)
    reached = np.cumsum(shares[order]) / shares.sum()
    return float(values[order][min(int(np.searchsorted(reached, 0.5)), len(values) - 1)])
