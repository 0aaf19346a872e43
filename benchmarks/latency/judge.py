"""What is counted: the share of models, not among the samples, that come out within 10% of what was measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Tally", "random_samples", "spread_over_boards"]

Latencies = Mapping[str, float]
_CLOSE = 0.10
_MANY = 8  # boards from which a bootstrap over boards says something


@dataclass
class Tally:
    """Shares within 10% by board, one for each column and draw, and how many intervals held."""

    shares: dict[str, list[float]] = field(default_factory=dict)
    held: list[float] = field(default_factory=list)

    def add(self, board: str, truth: Latencies, samples: Sequence[str], predicted: Latencies) -> None:
        rest = [model for model in truth if model not in samples and model in predicted]
        close = [abs(predicted[model] / truth[model] - 1) <= _CLOSE for model in rest]
        self.shares.setdefault(board, []).append(float(np.mean(close)))

    def figures(self) -> dict[str, Any]:
        """The mean over columns and draws, its 95% interval over many boards, and the intervals' coverage."""
        found: dict[str, Any] = {"within_10%": round(float(np.mean([*itertools.chain(*self.shares.values())])), 4)}
        if len(self.shares) >= _MANY:
            found["95%"] = spread_over_boards(self.shares)
        if self.held:
            found["coverage"] = round(float(np.mean(self.held)), 4)
        return found


def spread_over_boards(shares: Mapping[str, Sequence[float]], seed: int = 0) -> list[float]:
    """2.5% and 97.5% quantiles of the mean when boards are drawn again with replacement (bootstrap by cluster)."""
    rng = np.random.default_rng(seed)
    sums = np.array([np.sum(each) for each in shares.values()])
    counts = np.array([len(each) for each in shares.values()])
    drawn = rng.integers(0, len(sums), (2000, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [round(float(np.quantile(means, level)), 4) for level in (0.025, 0.975)]


def random_samples(models: Sequence[str], count: int, draws: int, seed: int) -> list[tuple[str, ...]]:
    """`draws` sets of `count` models."""
    rng = np.random.default_rng(seed)
    return [tuple(models[i] for i in rng.permutation(len(models))[:count]) for _ in range(draws)]
