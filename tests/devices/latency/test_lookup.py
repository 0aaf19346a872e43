"""Which model answers: the user's profile, the built-in one, the roofline."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from boards import board
from learned_models import measured, profile_folder
from lowered_networks import small
from torch import nn

from compressor.devices.latency import lookup
from compressor.devices.latency.calibration import KINDS
from compressor.devices.latency.learning import prediction, remember
from compressor.devices.latency.lookup import (
    builtin_profile,
    calibration_file,
    identity,
    latency_model,
    measured_processor,
    processor,
    user_profile,
)
from compressor.devices.latency.profile import write_models
from compressor.devices.latency.sequence_fit import fit_sequence
from compressor.devices.latency.sequence_training import Training
from compressor.devices.latency.subject import Subject
from compressor.errors import DeviceError
from compressor.graph.capture import capture
from compressor.graph.cost import ROOFLINE, Roofline
from compressor.graph.program import Program
from compressor.targets import Runtime, load_target
from compressor.targets.machine import this_machine


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(lookup, "_BUILTIN", tmp_path / "builtin")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return small(tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), (torch.randn(2, 8),)).program


def test_without_a_profile_the_roofline_answers_and_says_so(program: Program) -> None:
    found = latency_model(board()).predict(program, board())
    assert (found.calibrated, found.source, found.past) == (False, ROOFLINE, "")
    assert identity(board()) == "roofline"


def test_a_profile_of_this_processor_is_calibrated(program: Program, subject: Subject) -> None:
    host = load_target("host")
    profile_folder(user_profile("host"), subject, processor(host))
    found = latency_model(host).predict(program, host)
    assert found.calibrated
    assert found.source.startswith(f"a profile of {processor(host)}")
    assert identity(host) != "roofline"


def test_what_this_machine_measured_of_itself_is_its_own() -> None:
    host = load_target("host")
    assert measured_processor(host, "local", "Raspberry Pi 5 (Cortex-A76)") == processor(host)
    assert measured_processor(host, "ssh://pi@board", "Cortex-A76") == "Cortex-A76"
    assert measured_processor(board(), "local", "Cortex-A76") == "Cortex-A76"


def test_one_of_another_processor_says_so(program: Program, subject: Subject, tmp_path: Path) -> None:
    host = load_target("host")
    profile_folder(tmp_path / "builtin" / f"host-{host.arch}", subject, "another")
    assert builtin_profile(host) is not None
    found = latency_model(host).predict(program, host)
    assert not found.calibrated
    assert "another processor" in found.source


@pytest.mark.parametrize(("features", "name"), [({"avx2"}, "host-x86_64"), ({"avx2", "avx512f"}, "host-x86_64-v4")])
def test_wide_vectors_have_a_profile_of_their_own(
    features: set[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = dataclasses.replace(this_machine(), features=frozenset(features))
    monkeypatch.setattr(lookup, "this_machine", lambda: here)
    for each in ("host-x86_64", "host-x86_64-v4"):
        (tmp_path / "builtin" / each).mkdir(parents=True)
    found = builtin_profile(dataclasses.replace(load_target("host"), arch="x86_64"))
    assert found is not None
    assert found.name == name


def test_the_users_own_comes_first(program: Program, subject: Subject, tmp_path: Path) -> None:
    host = load_target("host")
    profile_folder(tmp_path / "builtin" / f"host-{host.arch}", subject, "another")
    profile_folder(user_profile("host"), subject, processor(host))
    assert latency_model(host).predict(program, host).calibrated


def test_a_damaged_profile_is_told_by_its_file(subject: Subject) -> None:
    folder = profile_folder(user_profile("board"), subject, "x")
    (folder / "model.json").write_text('{"1": {}}')
    with pytest.raises(DeviceError, match="cannot be read") as caught:
        latency_model(board())
    assert "model.json" in str(caught.value.where)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", '{"1": []}', '{"1": {"model": "tokens"}}', '{"1": {"spread": NaN}}', "[" * 100_000]
)
def test_whatever_else_a_model_file_holds_is_told_too(subject: Subject, text: str) -> None:
    (profile_folder(user_profile("board"), subject, "x") / "model.json").write_text(text)
    with pytest.raises(DeviceError, match="cannot be read"):
        latency_model(board())


def test_a_number_that_is_not_finite_is_no_model(subject: Subject) -> None:
    file = profile_folder(user_profile("board"), subject, "x") / "model.json"
    data = json.loads(file.read_text())
    data["1"]["spread"] = math.nan
    file.write_text(json.dumps(data))
    with pytest.raises(DeviceError, match="finite"):
        latency_model(board())


FACTORS = dict.fromkeys(KINDS, 2.0)


def calibration(**changes: object) -> None:
    file = calibration_file("board")
    file.parent.mkdir(parents=True, exist_ok=True)
    sound = {"base": "roofline", "factors": FACTORS, "spread": 0.1, "measured": {"a": 1.0}, "about": {}}
    file.write_text(json.dumps({**sound, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"spread": math.nan}, {"spread": math.inf}, {"spread": 1e6}, {"spread": -0.1}, {"spread": "wide"},
        {"factors": {**FACTORS, "other": 0.0}}, {"factors": {**FACTORS, "other": -1.0}},
        {"factors": {**FACTORS, "other": 1e300}}, {"factors": []}, {"measured": [1]}, {"about": 1},
    ],
)  # fmt: skip
def test_a_calibration_out_of_all_proportion_is_told(changes: dict[str, object]) -> None:
    calibration(**changes)
    with pytest.raises(DeviceError, match="cannot be read"):
        latency_model(board())


def test_a_calibration_asks_for_no_profile_but_its_own(program: Program, subject: Subject) -> None:
    calibration()
    (profile_folder(user_profile("another"), subject, "x") / "model.json").write_text("{")
    found = latency_model(board()).predict(program, board())
    assert found.source.startswith("the roofline, calibrated")
    calibration(base="another")
    with pytest.raises(DeviceError, match="cannot be read"):
        latency_model(board())
    calibration(base="gone")
    with pytest.raises(DeviceError, match="which is gone"):
        latency_model(board())


def test_a_profile_may_hold_a_model_over_tokens_and_says_so(program: Program, subject: Subject) -> None:
    host, brief = load_target("host"), Training(members=2, width=4, steps=5)
    folder = profile_folder(user_profile("host"), subject, processor(host))
    laws = latency_model(host).predict(program, host)
    tokens = fit_sequence([measured(subject)], training=brief).to_json()
    write_models(folder, {1: tokens, 2: {**tokens, "threads": 2}})
    found = latency_model(host).predict(program, host)
    assert found.latency_ms > 0
    assert found.source == f"{laws.source} read as tokens", "what one kind was off by corrects no other"


def test_measurements_correct_what_is_said_next(program: Program, subject: Subject) -> None:
    host = load_target("host")
    profile_folder(user_profile("host"), subject, processor(host))
    first = latency_model(host).predict(program, host)
    assert remember(prediction(first, "digest", 1, 1), host, 2 * first.latency_ms)
    second = latency_model(host).predict(program, host)
    assert first.latency_ms < second.latency_ms < 2 * first.latency_ms
    assert "error -50.0%" in second.past


def test_of_tvm_nothing_was_measured(subject: Subject) -> None:
    profile_folder(user_profile("board"), subject, "x")
    compiled = board(runtime=Runtime("tvm", "0.27", 0, "test"))
    assert isinstance(latency_model(compiled), Roofline)
    assert identity(compiled) == "roofline" != identity(board())
