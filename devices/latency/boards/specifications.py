"""Latencies on a board that nobody has measured, from its data sheet and what other boards do: uncalibrated.

    log t_mj = a_m − log R_j + f_m(φ_j) + b_m(board of j) + ε_mj
    f_m ~ GP(0, l φ·φ' + s exp(−‖φ − φ'‖² / 2d)),   b_m ~ N(0, τ² / u),   ε_mj ~ N(0, σ²)

R_j is the peak rate of the cores in use (the compute roof), a_m the model's work over the efficiency that boards reach
with it, f_m how that efficiency moves with a board's description φ (cores, clock, lanes, bandwidth, cache, traits), and
b_m what no data sheet tells. l, s and τ are those of a small grid with the least mean error (of logs, none counted as
more than 1) on source boards left out. A board that is unlike its kind counts less: u = (ν + 1) / (ν + r² / τ²), r its
median residual, as in regression with t errors.
Williams, Waterman, Patterson: Roofline (2009); Rasmussen, Williams: Gaussian Processes (2006), chapters 2 and 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compressor.devices.latency.boards.table import Floats, Indices, LatencyTable
from compressor.devices.latency.boards.transfer import Prediction
from compressor.errors import InputError

__all__ = ["DataSheet", "Specifications"]

_FREEDOM = 4.0  # ν
_ROUNDS = 3
_COVERAGE = 0.9
_MANY = 8  # boards from which left-out ones can be judged
_TRAITS_SPREAD = 0.05  # a description that varies less than this over the sources is not divided by its spread


@dataclass(frozen=True)
class _Scale:
    """Variances of log efficiency: l, s, τ², σ²."""

    linear: float
    smooth: float
    board: float
    noise: float


_SCALES = tuple(_Scale(*each, 0.02) for each in itertools.product((0.003, 0.02), (0.1, 0.3, 0.8), (0.03, 0.1)))


@dataclass(frozen=True)
class DataSheet:
    """What a data sheet says of the cores that a run uses.

    `rate`: peak 10⁹ fp32 multiply–accumulates a second of all of them; `cores`: how many; `clock`: GHz of the fastest;
    `macs`: multiply–accumulates a clock of it; `bandwidth`: peak GB/s; `cache`: MB of the last level that it has;
    `traits`: what it has or is ("dot product", "in order", "aarch64").
    """

    rate: float
    cores: float
    clock: float
    macs: float
    bandwidth: float
    cache: float
    traits: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        bad = [name for name in _NUMBERS if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0)]
        if bad:
            raise InputError(f"{bad[0]} is {getattr(self, bad[0])}", where="board description")


_NUMBERS = ("rate", "cores", "clock", "macs", "bandwidth", "cache")


class Specifications:
    """Learned from source latencies and the descriptions of their devices; raises InputError where one is missing."""

    def __init__(self, table: LatencyTable, descriptions: Mapping[str, DataSheet]) -> None:
        missing = next((device for device in table.devices if device not in descriptions), None)
        if missing is not None:
            raise InputError(f"no description of {missing!r}", where="board descriptions")
        self.table = table
        self._sources = [descriptions[device] for device in table.devices]
        self._traits = sorted({trait for each in self._sources for trait in each.traits})
        raw = np.array([self._raw(each) for each in self._sources])
        spread = raw.std(0)
        self._centre, self._scale = raw.mean(0), np.where(spread > _TRAITS_SPREAD, spread, 1.0)
        self._features = (raw - self._centre) / self._scale
        self._slow = table.logs + np.log([each.rate for each in self._sources])
        names = list(dict.fromkeys(table.boards))
        boards = np.array([names.index(board) for board in table.boards])
        self._same = (boards[:, None] == boards[None]).astype(np.float64)
        self._scale_of, self._trust = _SCALES[0], np.ones(len(table.devices))
        self._width = self._calibrated() if len(names) >= _MANY else 1.96

    def predict(self, board: DataSheet) -> dict[str, Prediction]:
        """Every model of the table on a board of which nothing was measured, with a 90% interval."""
        features = ((np.array(self._raw(board)) - self._centre) / self._scale)[None]
        found = {}
        for row, model in enumerate(self.table.models):
            mean, variance = self._regressed(row, features)
            log, wide = mean[0] - np.log(board.rate), self._width * np.sqrt(variance[0])
            found[model] = Prediction(float(np.exp(log - wide)), float(np.exp(log)), float(np.exp(log + wide)))
        return found

    def _raw(self, board: DataSheet) -> list[float]:
        numbers = [float(np.log(getattr(board, name))) for name in _NUMBERS]
        return numbers + [float(trait in board.traits) for trait in self._traits]

    def _calibrated(self) -> float:
        """Chooses the scale by source boards left out; half-width of a 90% interval in standard deviations by them."""
        tried = []
        for scale in _SCALES:
            self._scale_of, self._trust = scale, np.ones(len(self.table.devices))
            for _ in range(_ROUNDS):
                self._trust = self._robust()
            errors, deviations = self._left_out()
            quantile = float(np.quantile(errors / deviations, _COVERAGE))
            tried.append((float(np.minimum(errors, 1.0).mean()), scale, self._trust, quantile))
        _, self._scale_of, self._trust, width = min(tried, key=lambda each: each[0])
        return width

    def _robust(self) -> Floats:
        """Every board's trust, by its median residual over models, when what is known of its kind predicts it."""
        fits = [self._regressed(row, self._features)[0] for row in range(len(self.table.models))]
        apart = self._slow - np.array(fits)
        median = np.array([np.nanmedian(apart[:, alike > 0]) for alike in self._same])
        return np.asarray((_FREEDOM + 1) / (_FREEDOM + median**2 / self._scale_of.board))

    def _left_out(self) -> tuple[Floats, Floats]:
        """Errors of every source board left out, and their standard deviations, for all models and columns in a row.

        In closed form: the errors of a left-out block are ([C⁻¹]_bb)⁻¹ [C⁻¹ (t − a)]_b (Rasmussen, Williams, 5.4.2).
        """
        errors, deviations = [], []
        for row in self._slow:
            seen = np.flatnonzero(~np.isnan(row))
            inverse = np.linalg.inv(self._covariance(seen))
            pulled = inverse @ (row[seen] - inverse.sum(0) @ row[seen] / inverse.sum())
            for alike in np.unique(self._same[np.ix_(seen, seen)], axis=0) > 0:
                spread = np.linalg.inv(inverse[np.ix_(alike, alike)])
                errors.append(np.abs(spread @ pulled[alike]))
                deviations.append(np.sqrt(np.diag(spread)))
        return np.concatenate(errors), np.concatenate(deviations)

    def _regressed(self, row: int, features: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of log(t R) of one model on a new board, at `features` of shape (points, features)."""
        seen = np.flatnonzero(~np.isnan(self._slow[row]))
        values, known = self._slow[row, seen], self._features[seen]
        inverse = np.linalg.inv(self._covariance(seen))
        shares = inverse.sum(0) / inverse.sum()  # generalized least squares for the mean
        mean = float(shares @ values)
        gain = _kernel(features, known, self._scale_of) @ inverse
        spread = np.diag(_kernel(features, features, self._scale_of))
        variance = spread - np.einsum("ij,ij->i", gain, _kernel(features, known, self._scale_of))
        own = self._scale_of.board + self._scale_of.noise
        return mean + gain @ (values - mean), np.maximum(variance, 0.0) + own

    def _covariance(self, seen: Indices) -> Floats:
        scale, known = self._scale_of, self._features[seen]
        boards = scale.board * self._same[np.ix_(seen, seen)] / self._trust[seen]
        return np.asarray(_kernel(known, known, scale) + boards + scale.noise * np.eye(len(seen)))


def _kernel(one: Floats, other: Floats, scale: _Scale) -> Floats:
    apart = ((one[:, None] - other[None]) ** 2).sum(-1) / one.shape[1]
    return np.asarray(scale.linear * one @ other.T + scale.smooth * np.exp(-apart / 2))
