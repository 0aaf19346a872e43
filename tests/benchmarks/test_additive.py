"""Operators timed alone: every node that depends on an input becomes a model, alike ones the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from lowered_networks import small

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from additive import judged, parts


def test_each_node_runs_alone_on_its_own_values(tmp_path: Path) -> None:
    found = list(parts(small(tmp_path, width=16), tmp_path))
    assert len(found) >= 4
    for part in found:
        with np.load(part.inputs) as arrays:
            outputs = onnxruntime.InferenceSession(part.model).run(None, dict(arrays))
        assert all(np.isfinite(output).all() for output in outputs)


def test_alike_nodes_are_one_operator(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = [part.key for part in parts(small(tmp_path / "a"), tmp_path / "a")]
    second = [part.key for part in parts(small(tmp_path / "b"), tmp_path / "b")]
    assert first == second


def test_it_is_judged_by_error_and_order() -> None:
    rows = [{"whole_ms": w, "sum_ms": 1.1 * w, "macs": m} for w, m in ((1.0, 3), (2.0, 1), (4.0, 2))]
    found = judged(rows)
    assert found["mape"] == pytest.approx(0.1)
    assert found["spearman"] == pytest.approx(1.0)
    assert all(found["met"].values())
