"""Random networks as jobs whose instructions are counted. What really counts is `-m emulated` in test_counting.py."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from own_device import counting

import benchmarks.instructions as benchmark
from compressor.devices.latency import instruction_networks
from compressor.devices.latency.instruction_networks import candidates, counted_rows
from compressor.targets.loader import load_target

TARGET = load_target("raspberry-pi-5")
FORMATS = {"fp32": benchmark.folded, "int8": benchmark.in_int8}


def test_a_network_comes_in_both_formats_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(candidates(["encoder"], 10, TARGET, tmp_path, FORMATS))
    assert [each.row.format for each in found] == ["fp32", "int8"]
    assert any(name.startswith("macs") and name.endswith("int8") for name in found[1].row.work)
    for each in found:
        session = onnxruntime.InferenceSession(each.job.model, providers=["CPUExecutionProvider"])
        shapes = {given.name: given.shape for given in session.get_inputs()}
        assert {*shapes} == {*each.job.inputs}
        for name, given in each.job.inputs.items():
            assert given["shape"][0] == 1
            assert all(isinstance(size, str) or size == given["shape"][i] for i, size in enumerate(shapes[name]))
            assert given["shape"][1] > 1, "a text keeps its length"
    rows = counted_rows(counting(tmp_path / "site", 3002, monkeypatch), found)
    assert [(row.style, row.seed, row.format, row.instructions) for row in rows] == [
        ("encoder", 10, "fp32", 3002), ("encoder", 10, "int8", 3002)
    ]  # fmt: skip
    assert rows[0].work == found[0].row.work


def test_what_is_too_large_to_emulate_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruction_networks, "MOST_MACS", 1.0)
    assert not list(candidates(["encoder"], 10, TARGET, tmp_path, FORMATS))
