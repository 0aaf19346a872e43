"""The fetching script from local sources, and its answer when there are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fetch_latency_data
from latency.tables import MLPERF, NCNN

PAGE = "Board\n```\nnum_threads = 4\npowersave = 2\n vgg16  min = 1.50  max = 2.00  avg = 1.60\n```\n"
SUMMARY = "Result is : VALID\nMean latency (ns) : 1500000\n90.00 percentile latency (ns) : 2000000\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
    return fetch_latency_data.main()


def test_both_tables_are_written_from_local_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    for name in fetch_latency_data.ROUNDS:
        folder = tmp_path / f"inference_results_{name}/open/Lab/results/rpi4-x/resnet50/singlestream/performance/run_1"
        folder.mkdir(parents=True)
        (folder / "mlperf_log_summary.txt").write_text(SUMMARY)
    out = tmp_path / "out"
    assert run(monkeypatch, "--out", out, "--ncnn", tmp_path / "README.md", "--mlperf", tmp_path) == 0
    assert (out / NCNN).read_bytes() == b"device,threads,powersave,model,min,max,avg\r\nBoard,4,2,vgg16,1.5,2.0,1.6\r\n"
    header, first, *_ = (out / MLPERF).read_text().splitlines()
    assert header == "round,division,submitter,system,model,p90_ms,mean_ms,valid"
    assert first == "v0.7,open,Lab,rpi4-x,resnet50,2.0,1.5,VALID"


def test_a_source_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    assert run(monkeypatch, "--out", tmp_path / "o", "--ncnn", tmp_path / "README.md", "--mlperf", tmp_path) == 1
    assert "no folder" in capsys.readouterr().err
