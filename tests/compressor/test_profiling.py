"""`compress profile`: networks are timed and fitted to, within its limits; other networks are timed beside them."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
from pathlib import Path

import pytest
from lowered_networks import QUICK, small
from own_device import OwnDevice
from timed_networks import networks

from compressor import profiling
from compressor.devices.latency import sequence_fit
from compressor.devices.latency.profile import Profile, read_profile, write_profile
from compressor.devices.latency.sequence_training import Training
from compressor.devices.latency.sitting import Item
from compressor.errors import DeviceError, OutputError
from compressor.profile_draw import Drawn
from compressor.profiling import Limits, profile, refit
from compressor.targets import load_target

LEAST = 4


def few(seed: int) -> list[Drawn]:
    """As many small networks as a model is fitted to, instead of a first round."""
    return [Drawn("plain", seed + index, "plain") for index in range(LEAST)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "first_round", few)
    monkeypatch.setattr(profiling, "_LEAST", LEAST)
    monkeypatch.setattr(profiling, "_CHOICE", 2)


LIMITS = Limits(kernels=400, visits=2, stages=1, threads=(1, 2), settings=QUICK)


def test_tables_and_a_model_come_of_it(tmp_path: Path) -> None:
    other = small(tmp_path, "other")
    found = profile(
        OwnDevice(), load_target("host"), tmp_path / "out", tmp_path / "work", LIMITS, beside=[Item(other)]
    )  # fmt: skip
    kept = {(m.name, m.threads): m for m in read_profile(tmp_path / "out").networks}
    for timed in found.profile.networks:
        assert kept[timed.name, timed.threads].calls == timed.calls
        assert kept[timed.name, timed.threads].microseconds == pytest.approx(timed.microseconds, rel=1e-4)
    assert found.profile.about["networks"] == LEAST
    assert found.profile.about["cpu"] == "test"
    assert {m.threads for m in found.profile.networks} == {1, 2}
    assert all(m.name != "other" for m in found.profile.networks), "it is timed beside, and never fitted to"
    assert list(found.beside) == ["other@1"]
    assert all("other@1" in half for half in found.halves)
    assert found.models[1].predict(other.calls).microseconds > 0
    assert found.failures == {}
    assert not list((tmp_path / "work").glob("*.jsonl")), "nothing is left to go on with"


@pytest.mark.parametrize(
    ("visits", "stages", "shared"), [(2, 1, [2]), (10, 3, [2, 2, 6]), (5, 2, [2, 3]), (2, 3, [1, 1, 1])]
)
def test_the_stages_share_all_visits_and_none_goes_without(visits: int, stages: int, shared: list[int]) -> None:
    limits = Limits(visits=visits, stages=stages)
    assert [limits.visits_at(stage) for stage in range(stages)] == shared


def test_few_kernels_are_no_profile_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "first_round", lambda seed: few(seed)[:2])
    limits = Limits(kernels=20, visits=2, stages=1, settings=QUICK)
    with pytest.raises(DeviceError, match=f"fewer than {LEAST} networks"):
        profile(OwnDevice(), load_target("host"), tmp_path / "out", tmp_path / "work", limits)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/deep/er"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    device = OwnDevice()
    with pytest.raises(OutputError, match="cannot be written"):
        profile(device, load_target("host"), tmp_path / out, tmp_path / "work", LIMITS)
    with pytest.raises(OutputError, match="cannot be written"):
        profile(device, load_target("host"), tmp_path / "out", tmp_path / "file" / "work", LIMITS)
    assert device.tasks == []


@pytest.mark.slow
def test_a_disk_that_fills_up_at_the_end_costs_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    limits = dataclasses.replace(LIMITS, threads=(1,))
    with monkeypatch.context() as patch:
        patch.setattr(profiling, "write_profile", full)
        with pytest.raises(OutputError, match="No space left"):
            profile(OwnDevice(), load_target("host"), tmp_path / "out", tmp_path / "work", limits)
    damaged = min((tmp_path / "work").glob("plain-*.json"))
    damaged.write_text(damaged.read_text()[:100])  # as a kill leaves it
    device = OwnDevice()
    found = profile(device, load_target("host"), tmp_path / "out", tmp_path / "work", limits)
    assert device.tasks == []
    assert len(device.discarded) == 1, "the folder of the run before"
    assert found.profile.about["networks"] == LEAST
    assert not list((tmp_path / "work").glob("*.jsonl"))


def test_a_disk_that_is_full_while_networks_are_made_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(profiling, "lower", full)
    with pytest.raises(OutputError, match="No space left"):
        profile(OwnDevice(), load_target("host"), tmp_path / "out", tmp_path / "work", LIMITS)


def test_an_emulated_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="emulated"):
        profile(OwnDevice(timed=False), load_target("host"), tmp_path / "out", tmp_path / "work", LIMITS)


def test_a_provider_that_compiles_whole_graphs_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    device = OwnDevice()
    with pytest.raises(DeviceError, match="compiles whole graphs") as caught:
        profile(device, load_target("jetson-orin-nano"), tmp_path / "out", tmp_path / "work", LIMITS)
    assert "compress calibrate" in str(caught.value.way_out)
    assert device.tasks == []


def test_another_kind_of_model_is_fitted_to_the_kept_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_fit, "Training", lambda: Training(members=2, width=4, steps=3))
    one = networks(12)
    two = [dataclasses.replace(each, threads=2) for each in one]
    write_profile(tmp_path, Profile({"kernels": 72}, (*one, *two[:3])), {})
    tables = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert len(refit(tmp_path, "tokens").networks) == 15
    models = json.loads((tmp_path / "model.json").read_text())
    assert {threads: model["model"] for threads, model in models.items()} == {"1": "tokens"}, "three are too few"
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == tables
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("time", [math.nan, math.inf, 0.0, -1.0])
def test_times_that_cannot_be_are_not_fitted_to(tmp_path: Path, time: float) -> None:
    first, *others = networks(12)
    write_profile(tmp_path, Profile({}, (dataclasses.replace(first, microseconds=time), *others)), {1: {"what": "was"}})
    with pytest.raises(DeviceError, match=f"times of {first.name} cannot be"):
        refit(tmp_path, "tokens")
    assert json.loads((tmp_path / "model.json").read_text()) == {"1": {"what": "was"}}


def test_a_refit_to_few_networks_is_refused_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    write_profile(tmp_path, Profile({}, tuple(networks(3))), {1: {"what": "was"}})
    with pytest.raises(DeviceError, match=f"fewer than {LEAST} networks"):
        refit(tmp_path, "tokens")
    assert json.loads((tmp_path / "model.json").read_text()) == {"1": {"what": "was"}}


def test_a_board_of_another_architecture_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    device = OwnDevice()
    with pytest.raises(DeviceError, match="raspberry-pi-5 is aarch64"):
        profile(device, load_target("raspberry-pi-5"), tmp_path / "out", tmp_path / "work", LIMITS)
    assert device.tasks == []


def test_without_a_profile_there_is_nothing_to_refit(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="there is no profile to fit to") as caught:
        refit(tmp_path / "none", "tokens")
    assert "without --refit" in caught.value.way_out
