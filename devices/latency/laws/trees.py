"""Boosted regression trees of depth three, as arrays: fitting asks scikit-learn, predicting is numpy alone.

    f(x) = Σ_k v_k[leaf_k(x)],    each tree fitted to what those before it leave     (Friedman, 2001)

A tree is complete: seven questions `x[feature] > threshold`, eight values. Where a tree stopped earlier its value
stands under both answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trees", "fit_trees"]

Floats = NDArray[np.float64]
_DEPTH = 3
_QUESTIONS, _LEAVES = 2**_DEPTH - 1, 2**_DEPTH
_COUNT, _RATE = 120, 0.06


@dataclass(frozen=True, eq=False)
class Trees:
    """Shapes (trees, questions) for `features` and `thresholds`, (trees, leaves) for `values`."""

    features: NDArray[np.intp]
    thresholds: Floats
    values: Floats

    def predict(self, x: Floats) -> Floats:
        """Of rows x, shape (rows, features)."""
        if not len(self.values):
            return np.zeros(len(x))
        trees = np.arange(len(self.values))
        place = np.zeros((len(x), len(trees)), dtype=np.intp)
        for _ in range(_DEPTH):
            asked = np.take_along_axis(x, self.features[trees, place], axis=1)
            place = 2 * place + 1 + (asked > self.thresholds[trees, place])
        return np.asarray(self.values[trees, place - _QUESTIONS].sum(1))

    def to_json(self) -> dict[str, Any]:
        thresholds = [[float(f"{v:.5g}") for v in row] for row in self.thresholds]
        values = [[float(f"{v:.3g}") for v in row] for row in self.values]
        return {"features": self.features.tolist(), "thresholds": thresholds, "values": values}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Trees:
        return Trees(
            np.array(data["features"], dtype=np.intp).reshape(-1, _QUESTIONS),
            np.array(data["thresholds"], dtype=np.float64).reshape(-1, _QUESTIONS),
            np.array(data["values"], dtype=np.float64).reshape(-1, _LEAVES),
        )


def fit_trees(x: Floats, target: Floats, weights: Floats) -> Trees:
    """Trees that predict `target` from rows x; `weights` say how much each row counts."""
    from sklearn.ensemble import GradientBoostingRegressor

    least = max(4, len(x) // 60)
    model = GradientBoostingRegressor(
        n_estimators=_COUNT, learning_rate=_RATE, max_depth=_DEPTH, min_samples_leaf=least, subsample=0.6,
        max_features=0.5, init="zero", random_state=0,
    )  # fmt: skip
    model.fit(x, target, sample_weight=weights)
    parts = [_complete(each.tree_) for each in model.estimators_[:, 0]]
    features, thresholds, values = (np.array(part) for part in zip(*parts, strict=True))
    return Trees(features.astype(np.intp), thresholds, _RATE * values)


def _complete(tree: Any) -> tuple[list[int], list[float], list[float]]:
    """The questions in the order of a heap, and the leaves."""
    features, thresholds, values = [0] * _QUESTIONS, [0.0] * _QUESTIONS, [0.0] * _LEAVES

    def fill(node: int, place: int) -> None:
        left, right = tree.children_left[node], tree.children_right[node]
        if place >= _QUESTIONS:
            values[place - _QUESTIONS] = float(tree.value[node, 0, 0])
            return
        if left >= 0:
            features[place], thresholds[place] = int(tree.feature[node]), float(tree.threshold[node])
        fill(left if left >= 0 else node, 2 * place + 1)
        fill(right if left >= 0 else node, 2 * place + 2)

    fill(0, 0)
    return features, thresholds, values
