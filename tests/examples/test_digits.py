"""The committed artifacts are what `results.json` says, small, and free of the training machine's paths."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    path, before = list(sys.path), set(sys.modules)
    spec = importlib.util.spec_from_file_location("digits_train", HERE / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    if "model" not in before:
        sys.modules.pop("model", None)


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray[Any, Any]]:
    with np.load(HERE / "data.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HERE / "results.json").read_text())
    return loaded


def test_model_has_the_recorded_accuracy(data: dict[str, Any], results: dict[str, Any], train: ModuleType) -> None:
    module = torch.export.load(HERE / "model.pt").module()
    measured = train.accuracy(module, torch.from_numpy(data["x"]), torch.from_numpy(data["labels"]))
    assert measured == pytest.approx(results["accuracy"], abs=1 / len(data["x"]))  # kernels may flip one tie
    assert measured >= 0.97


def test_state_dict_is_the_same_network(data: dict[str, Any], train: ModuleType) -> None:
    model = train.build().eval()
    model.load_state_dict(torch.load(HERE / "state_dict.pt", weights_only=True))
    x = torch.from_numpy(data["x"][:7])
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.export.load(HERE / "model.pt").module()(x))


def test_data_are_the_digits_and_calibration_is_not_the_test_set(data: dict[str, Any], train: ModuleType) -> None:
    train_x, _, test_x, test_y = train.digits()
    np.testing.assert_array_equal(data["x"], test_x.numpy())
    np.testing.assert_array_equal(data["labels"], test_y.numpy())
    rows = {row.tobytes() for row in train_x.numpy()}
    assert all(row.tobytes() in rows for row in data["calibration/x"])
    assert data["x"].dtype == np.float32


def test_artifacts_are_small_and_name_no_machine() -> None:
    artifacts = [HERE / name for name in ("model.pt", "state_dict.pt", "data.npz")]
    assert sum(path.stat().st_size for path in artifacts) < 1_000_000
    with zipfile.ZipFile(HERE / "model.pt") as archive:
        assert not [name for name in archive.namelist() if b"site-packages" in archive.read(name)]


def test_training_is_deterministic(train: ModuleType) -> None:
    x, y, _, _ = train.digits()
    runs = []
    for _ in range(2):
        steps = train.steps(train.fresh(3), x[:128], y[:128], epochs=2, seed=5)
        runs.append([next(steps) for _ in range(3)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3
