from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from boards import board
from torch import nn

from compressor.devices.local import Measurement, compare, load_ms, measure
from compressor.devices.runner import timing
from compressor.errors import ExportError
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture

BATCH = {"x": torch.randn(2, 8)}
QUICK = {"min_seconds": 0.01, "min_runs": 5, "warmup_seconds": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    program = capture(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (BATCH["x"],)).program
    assert [spec.name for spec in program.inputs] == ["input"] or program.inputs[0].name == "x"
    BATCH[program.inputs[0].name] = BATCH["x"]
    to_onnx(program, board()).save(path)
    return path


def test_figures_are_ordered_and_counted(model: Path) -> None:
    found = measure(model, BATCH, threads=1, **QUICK)
    assert 0 < found.min <= found.p50 <= found.p90 <= found.p99
    assert found.runs >= 5
    assert found.threads == 1
    assert found.load_ms > 0
    assert found.first_ms > 0
    assert found.runtime.startswith("onnxruntime ")


def test_measurement_is_json(model: Path) -> None:
    found = measure(model, BATCH, threads=1, **QUICK)
    assert Measurement(**json.loads(json.dumps(found.to_json()))) == found
    assert set(found.detail()) == {"p50", "p90", "p99", "min", "first", "runs", "threads"}


def test_models_are_timed_in_common_rounds(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.0)
    other = model.with_name("other.onnx")
    other.write_bytes(model.read_bytes())
    found = compare({"a": model, "b": other}, BATCH, threads=1, min_seconds=0, min_runs=4, warmup_seconds=0)
    assert list(found) == ["a", "b"]
    assert {len(each.rounds) for each in found.values()} == {4}
    assert {each.runs for each in found.values()} == {4}


def test_time_is_bounded_yet_every_model_is_measured(model: Path) -> None:
    found = compare({"a": model, "b": model}, BATCH, threads=1, min_runs=10**9, max_seconds=0.0)
    assert all(m.runs >= 1 for m in found.values())


def test_load_time(model: Path) -> None:
    assert load_ms(model, threads=1) > 0


def test_a_model_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\0" * 10)
    with pytest.raises(ExportError):
        measure(tmp_path / "model.onnx", BATCH, threads=1)


def test_a_library_of_tvm_is_measured_beside_an_onnx_file(tvm_bundle: Path, digits_bundle: Path) -> None:
    paths = {"onnx": digits_bundle / "model.onnx", "tvm": tvm_bundle / "model.so"}
    found = compare(paths, {"x": torch.randn(2, 1, 8, 8)}, threads=1, **QUICK)
    assert [each.runtime.split()[0] for each in found.values()] == ["onnxruntime", "tvm"]
    assert all(0 < each.min <= each.p50 <= each.p99 for each in found.values())
    assert all(each.load_ms > 0 for each in found.values())
    assert load_ms(paths["tvm"], threads=1) > 0


def test_a_model_with_operators_beside_it_is_measured_with_them(operators_bundle: Path) -> None:
    found = measure(operators_bundle / "model.onnx", {"input": torch.randn(2, 256)}, threads=1, **QUICK)
    assert found.runs >= 5
