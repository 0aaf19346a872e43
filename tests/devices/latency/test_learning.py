"""What was predicted is held against what was measured, where both are of the same thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.devices.latency.history import history_file, past
from compressor.devices.latency.learning import prediction, remember, remember_bundle
from compressor.graph.capture import capture
from compressor.graph.cost import ROOFLINE, Roofline
from compressor.targets import load_target

ARM = "aarch64"


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))


def predicted(threads: int = 4) -> dict[str, object]:
    program = capture(nn.Linear(8, 8).eval(), (torch.randn(2, 8),)).program
    return prediction(Roofline().predict(program, load_target("raspberry-pi-5")), program.hash(), threads, 1)


def test_a_bundle_measured_as_it_was_predicted_teaches() -> None:
    manifest = {"target": "raspberry-pi-5", "predicted": predicted()}
    assert remember_bundle(manifest, 4, 1, 3.0, arch=ARM)
    assert len(past("raspberry-pi-5", "", ROOFLINE).errors) == 1


def test_where_it_was_measured_is_kept() -> None:
    assert remember_bundle({"target": "raspberry-pi-5", "predicted": predicted()}, 4, 1, 3.0, arch=ARM, device="pi")
    assert json.loads(history_file().read_text())["device"] == "pi"


@pytest.mark.parametrize(("threads", "batch"), [(2, 1), (4, 8)])
def test_other_threads_or_another_batch_do_not(threads: int, batch: int) -> None:
    assert not remember_bundle({"target": "raspberry-pi-5", "predicted": predicted()}, threads, batch, 3.0, arch=ARM)


def test_a_machine_of_another_architecture_does_not() -> None:
    assert not remember_bundle({"target": "raspberry-pi-5", "predicted": predicted()}, 4, 1, 3.0, arch="x86_64")
    assert past("raspberry-pi-5", "", ROOFLINE).errors == ()


@pytest.mark.parametrize(
    "manifest", [{}, {"target": "raspberry-pi-5"}, {"target": "no-such", "predicted": {"threads": 4, "batch": 1}}]
)
def test_bundles_that_say_nothing_teach_nothing(manifest: dict[str, object]) -> None:
    assert not remember_bundle(manifest, 4, 1, 3.0, arch=ARM)


def test_half_a_prediction_is_none() -> None:
    assert not remember({"threads": 1}, load_target("raspberry-pi-5"), 3.0)


@pytest.mark.parametrize("raw", [float("inf"), float("nan"), "1e999", -1.0])
def test_a_prediction_that_cannot_be_teaches_nothing(raw: object) -> None:
    manifest = {"target": "raspberry-pi-5", "predicted": {**predicted(), "raw_ms": raw}}
    assert not remember_bundle(manifest, 4, 1, 3.0, arch="aarch64")
    assert past("raspberry-pi-5", "", ROOFLINE).errors == ()


def test_a_prediction_too_long_for_a_number_teaches_nothing() -> None:
    assert not remember({**predicted(), "raw_ms": 10**400}, load_target("raspberry-pi-5"), 3.0)
