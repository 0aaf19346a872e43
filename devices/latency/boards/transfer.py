"""Few-shot transfer: latencies on a new device from a few measurements on it and many on other devices.

    log t_new ~ N(μ', Σ')  around the samples (`nearby.py`), from a prior over source devices (`prior.py`),
    then conditioned on the k samples:  μ* = μ' + Σ'_·S (Σ'_SS + σ² I)⁻¹ (y − μ'_S)

With fewer than eight source boards there is nothing to learn a covariance from: predictions are averaged over the
kernels of `side.py`, weighted by the evidence p(y) that the samples give each. With more, ℓ and the width of the
intervals are chosen by leaving source boards out one at a time. Nothing of the new device but its samples is used.
Rasmussen, Williams: Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from compressor.devices.latency.boards.choose import by_sources, by_variance
from compressor.devices.latency.boards.nearby import NEIGHBOURHOODS, Nearby, seen_nearby
from compressor.devices.latency.boards.prior import NOISE, Prior, conditional, learned_prior
from compressor.devices.latency.boards.side import SCALES, SideKernel, side_kernel
from compressor.devices.latency.boards.table import Floats, Indices, LatencyTable, logs_of
from compressor.errors import InputError, did_you_mean

__all__ = ["Prediction", "Transfer"]

_MANY = 8  # boards from which a covariance can be learned and left-out boards can be judged by
_COVERAGE = 0.9
_Value = TypeVar("_Value")
_Judged = tuple[float, Floats, Floats]  # a source device left out: its weight, errors, standard deviations


@dataclass(frozen=True)
class Prediction:
    """A latency in milliseconds, and the interval that holds it nine times in ten."""

    low: float
    milliseconds: float
    high: float


@dataclass(frozen=True, eq=False)
class _Variant:
    """A prior by one kernel of side information."""

    prior: Prior
    scale: SideKernel


class Transfer:
    """Learned from a table of source latencies, measured or predicted (of profiled devices' latency models).

    `work`: positive amounts of work by model (MACs by kind, bytes), the same kinds for every model. `formats`: number
    formats by model ("fp32", "int8"): what is seen in one says less about another. Raises InputError where either
    lacks a model or work is not positive.
    """

    def __init__(
        self,
        table: LatencyTable,
        *,
        work: Mapping[str, Sequence[float]] | None = None,
        formats: Mapping[str, str] | None = None,
    ) -> None:
        self.table = table
        logs = table.logs
        size = np.nanmean(logs - np.nanmean(logs, axis=0), axis=1)
        size = size + float(np.nanmean(logs))
        amounts = None if work is None else _work_logs(work, table.models)
        kinds = None if formats is None else [_known(formats, model, "format") for model in table.models]
        names = list(dict.fromkeys(table.boards))
        self._boards = np.array([names.index(board) for board in table.boards], dtype=np.intp)
        self._many = len(names) >= _MANY
        scales = (SideKernel(),) if self._many else SCALES
        kernels = [side_kernel(size, amounts, kinds, scale) for scale in scales]
        self._variants = [_Variant(learned_prior(table, k), s) for k, s in zip(kernels, scales, strict=True)]
        self._mean_kernel = np.mean(kernels, axis=0)
        self._lefts: dict[int, Prior] = {}
        self._choices: dict[tuple[int, ...], list[int]] = {}
        self._tuned: dict[int, tuple[Nearby, float]] = {}

    def choose(self, count: int, among: Sequence[str] | None = None) -> tuple[str, ...]:
        """`count` models to measure, the most telling first, out of `among` (all). Nothing is measured for it.

        Raises InputError for an unknown model and when there are not so many.
        """
        pool = self.table.models if among is None else tuple(among)
        rows = [_row(model, self.table.models) for model in pool]
        if not 1 <= count <= len(set(rows)):
            raise InputError(f"{count} models of {len(set(rows))} to choose", where="calibration")
        return tuple(self.table.models[row] for row in self._chosen(count, tuple(rows)))

    def predict(self, samples: Mapping[str, float]) -> dict[str, Prediction]:
        """Every model of the table on a new device of which `samples` (milliseconds by model) are known.

        Raises InputError for no samples, an unknown model, and latencies that are not positive, finite numbers.
        """
        rows, logs = logs_of(samples, self.table.models)
        how, width = self._tuning(len(rows))
        mean, variance = self._averaged(rows, logs, how)
        wide = width * np.sqrt(variance + NOISE)
        found = zip(self.table.models, np.exp(mean - wide), np.exp(mean), np.exp(mean + wide), strict=True)
        return {model: Prediction(float(low), float(at), float(high)) for model, low, at, high in found}

    def nearest(self, samples: Mapping[str, float]) -> str:
        """The source device on which the sampled models relate to each other most as on the new one."""
        rows, logs = logs_of(samples, self.table.models)
        columns = self._variants[0].prior.columns[rows]
        apart = ((columns - columns.mean(0) - (logs - logs.mean())[:, None]) ** 2).mean(0)
        return self.table.devices[int(apart.argmin())]

    def _averaged(self, rows: Indices, logs: Floats, how: Nearby, but: int = -1) -> tuple[Floats, Floats]:
        """Mean and variance (models,) over the variants, each as much as the samples speak for it."""
        means, variances, evidences = [], [], []
        for variant in self._variants:
            prior = variant.prior if but < 0 else self._left(variant.prior, but)
            mean, covariance = seen_nearby(prior, self._boards, rows, logs, how, but)
            at, variance = conditional(mean, covariance, rows, logs)
            means.append(at)
            variances.append(variance)
            evidences.append(_evidence(logs - mean[rows], covariance[np.ix_(rows, rows)]))
        weights = np.exp(np.array(evidences) - max(evidences))
        weights = weights / weights.sum()
        mean = weights @ np.array(means)
        spread = weights @ (np.array(variances) + (np.array(means) - mean) ** 2)
        return mean, spread

    def _left(self, prior: Prior, board: int) -> Prior:
        if board not in self._lefts:
            self._lefts[board] = prior.without(board, self._boards)
        return self._lefts[board]

    def _chosen(self, count: int, rows: tuple[int, ...]) -> list[int]:
        """Both searches are greedy, so a longer choice begins with the shorter one: the longest is kept."""
        known = self._choices.get(rows, [])
        if len(known) < count:
            if self._many:
                known = by_sources(self._variants[0].prior, count, rows)
            else:
                known = by_variance(self._mean_kernel + 1.0, count, rows)
            self._choices[rows] = known
        return known[:count]

    def _tuning(self, count: int) -> tuple[Nearby, float]:
        """For so many samples: ℓ, and the half-width of the interval in standard deviations.

        Both by what does best on source boards left out, with the models sampled that `choose` would choose.
        """
        if not self._many:
            return Nearby(), 1.96  # Student's t for a handful of samples; 1.64 would do were the variance known
        if count not in self._tuned:
            rows = np.array(self._chosen(count, tuple(range(len(self.table.models)))), dtype=np.intp)
            found = [(how, list(self._left_out(rows, how))) for how in NEIGHBOURHOODS]
            how, left_out = max(found, key=lambda each: _closeness(each[1]))
            self._tuned[count] = (how, _width(left_out, len(set(self.table.boards))))
        return self._tuned[count]

    def _left_out(self, rows: Indices, how: Nearby) -> Iterator[_Judged]:
        """Every source device predicted without its board: its weight, errors and deviations of what was not sampled.

        Only what was measured counts as known or as an answer.
        """
        prior, logs = self._variants[0].prior, self.table.logs
        for j, board in enumerate(self._boards):
            known = rows[~np.isnan(logs[rows, j])]
            answers = np.setdiff1d(np.flatnonzero(~np.isnan(logs[:, j])), rows)
            if not len(known) or not len(answers):
                continue
            mean, variance = self._averaged(known, logs[known, j], how, but=int(board))
            yield float(prior.weights[j]), mean[answers] - logs[answers, j], np.sqrt(variance[answers] + NOISE)


def _closeness(left_out: Sequence[_Judged]) -> float:
    """How near 10% the predictions came on left-out source boards."""
    return sum(weight * float(np.exp(-((errors / 0.1) ** 2) / 2).mean()) for weight, errors, _ in left_out)


def _width(left_out: Sequence[_Judged], boards: int) -> float:
    """Half-width in standard deviations of intervals that would have held nine times in ten.

    The level is (B + 1) / B of that for B boards, as in conformal prediction: few boards tell little about the next.
    """
    ratios = np.concatenate([np.abs(errors) / deviations for _, errors, deviations in left_out])
    weights = np.concatenate([np.full(len(errors), weight) for weight, errors, _ in left_out])
    return _weighted_quantile(ratios, weights, min(1.0, _COVERAGE * (boards + 1) / boards))


def _evidence(apart: Floats, covariance: Floats) -> float:
    """log p(y), up to a constant."""
    inner = covariance + NOISE * np.eye(len(apart))
    sign, logdet = np.linalg.slogdet(inner)
    return float(-0.5 * apart @ np.linalg.solve(inner, apart) - 0.5 * sign * logdet)


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, level)), len(values) - 1)])


def _work_logs(work: Mapping[str, Sequence[float]], models: Sequence[str]) -> Floats:
    amounts = [list(_known(work, model, "work")) for model in models]
    if len({len(row) for row in amounts}) != 1 or not amounts[0]:
        raise InputError("models have different kinds of work", where="side information")
    found = np.array(amounts, dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all()):
        model = models[int(np.argmin((np.isfinite(found) & (found > 0)).all(1)))]
        raise InputError(f"work of {model!r} is not positive", where="side information")
    return np.asarray(np.log(found))


def _known(given: Mapping[str, _Value], model: str, what: str) -> _Value:
    if model not in given:
        raise InputError(f"no {what} of {model!r}", where="side information", way_out="Give it for every model.")
    return given[model]


def _row(model: str, models: Sequence[str]) -> int:
    if model not in models:
        raise InputError(f"no source latency for {model!r}", way_out=did_you_mean(model, list(models)))
    return list(models).index(model)
