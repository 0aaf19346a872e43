"""Boosted trees as arrays say what scikit-learn's say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.devices.latency.laws.trees import Trees, fit_trees


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(200, 3))
    return x, np.where(x[:, 0] > 0.3, 0.4, -0.1) + 0.2 * (x[:, 1] > 0) * (x[:, 0] > 0.3)


def test_steps_are_learned() -> None:
    x, y = data()
    trees = fit_trees(x, y, np.ones(len(x)))
    assert np.abs(trees.predict(x) - y).mean() < 0.03


def test_back_from_json() -> None:
    x, y = data()
    trees = fit_trees(x, y, np.ones(len(x)))
    again = Trees.from_json(json.loads(json.dumps(trees.to_json())))
    assert again.predict(x) == pytest.approx(trees.predict(x), abs=0.02)
    assert len(json.dumps(trees.to_json())) < 40_000


def test_no_trees_say_nothing() -> None:
    empty = Trees.from_json({"features": [], "thresholds": [], "values": []})
    assert empty.predict(np.ones((2, 3))).tolist() == [0.0, 0.0]
