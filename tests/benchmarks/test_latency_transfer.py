"""The transfer benchmark on tiny tables, and what it says when there are none."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fetch_latency_data
import latency_transfer
from latency import mlperf_logs, ncnn_page
from latency.tables import MLPERF, NCNN

BOARDS = (
    "Raspberry Pi 4 Model B Broadcom", "NVIDIA Jetson Nano", "Khadas VIM3, Amlogic A311D", "AWS c5.4xlarge Instance",
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Fourteen models on four machines; two MobileNets at 48 settings on Xavier, 3 times as slow on Raspberry Pi 4."""
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 5, 14)
    pages = [
        (
            board,
            "4",
            "0",
            f"m{i}{'_int8' if i % 2 else ''}",
            *[float(np.exp(size[i] + 0.4 * j + 0.1 * (i % 2) * j))] * 3,
        )
        for j, board in enumerate(BOARDS)
        for i in range(14)
    ]
    fetch_latency_data.write(tmp_path / NCNN, ncnn_page.FIELDS, pages)
    models = [
        f"mobilenet-v{v}-{width}-{resolution}-{kind}"
        for v in (1, 2) for width in ("0.25", "0.5", "0.75", "1.0") for resolution in (96, 128, 160, 192, 208, 224)
        for kind in ("quantized", "non-quantized")
    ]  # fmt: skip
    logs = [
        ("v1.0", "open", "Krai", f"{board}-tflite", model, 1.0, 1.0 + i * factor, "VALID")
        for board, factor in (("xavier", 1), ("rpi4", 3))
        for i, model in enumerate(models)
    ]
    fetch_latency_data.write(tmp_path / MLPERF, mlperf_logs.FIELDS, logs)
    return tmp_path


def test_without_data_it_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["latency_transfer.py"])
    assert latency_transfer.main() == 2
    assert "fetch_latency_data.py" in capsys.readouterr().out


def test_every_method_is_judged_on_the_same_cases(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = data / "results.json"
    monkeypatch.setattr(latency_transfer, "RESULTS", results)
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(data), "--only", "ncnn", "specifications", "--draws", "2"])
    assert latency_transfer.main() == 0
    parts = json.loads(results.read_text())["parts"]
    cases = {name.rpartition(": ")[0] for name in parts["ncnn"]}
    assert cases == {f"{g} {k} {how}" for g in ("all", "boards") for k in (5, 10) for how in ("chosen", "random")}
    for case in cases:
        shares = [
            parts["ncnn"][f"{case}: {m}"]["within_10%"] for m in ("scale", "scale a format", "rank 6", "transfer")
        ]
        assert all(0 <= share <= 1 for share in shares)
    assert parts["ncnn"]["all 10 chosen: transfer"]["within_10%"] >= parts["ncnn"]["all 10 chosen: scale"]["within_10%"]
    assert parts["specifications"]["boards"] == 3  # the server has no data sheet in the file
    assert "transfer" in capsys.readouterr().out


def test_xavier_to_raspberry_pi(data: Path) -> None:
    figures = latency_transfer.mlperf(argparse.Namespace(data=data, draws=1))
    assert 0 <= figures["10 chosen: transfer"]["within_10%"] <= 1
    assert figures["10 chosen: transfer"]["within_10%"] >= figures["10 chosen: scale a format"]["within_10%"] - 0.05


def test_committed_figures_name_no_path() -> None:
    path = Path(latency_transfer.__file__).parent / "results" / "latency_transfer.json"
    assert "/work" not in path.read_text()
