"""The instruction benchmark: its models run, its figures are put together rightly, and those committed repeat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import benchmarks.instructions as benchmark
from compressor.devices.counting import Counted


def test_every_model_runs_here(tmp_path: Path) -> None:
    for name, job in benchmark.models(tmp_path):
        session = onnxruntime.InferenceSession(job.model, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        assert [*job.inputs] == [given.name], name
        (output,) = session.run(None, {given.name: np.ones(given.shape, np.float32)})
        assert np.isfinite(output).all(), name


def test_spread_is_a_share_and_none_is_all() -> None:
    assert benchmark.spread_of(Counted(1000), Counted(1001)) == pytest.approx(1e-3)
    assert benchmark.spread_of(Counted(None, "load: x"), Counted(5)) == 1.0


def test_a_ratio_needs_both() -> None:
    assert benchmark.ratio(Counted(50), 100) == 0.5
    assert benchmark.ratio(Counted(None, "load: x"), 100) is None
    assert benchmark.ratio(Counted(50), None) is None


def test_the_committed_figures_repeat() -> None:
    found = json.loads(benchmark.RESULTS.read_text(encoding="utf-8"))
    assert found["spread"]["measured"] <= found["spread"]["goal"]
    assert {*found["cpus"]} == {*benchmark.EARLIER}
    for rows in found["cpus"].values():
        assert all(row["instructions"] > 0 and not row["error"] for row in rows.values())


def test_predictions_stand_beside_counts(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.show_predicted("cortex-a76")
    text = capsys.readouterr().out
    assert "MAPE" in text
    assert "counted" in text
    assert "predicted" in text
