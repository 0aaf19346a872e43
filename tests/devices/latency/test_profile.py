"""A profile's tables: what is written is read again, and damage is told with the file's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from lowered_networks import small

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.laws.numbers import USUAL
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.profile import Profile, core_of, read_about, read_profile, write_profile
from compressor.errors import DeviceError


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    calls = small(tmp_path_factory.mktemp("subject")).calls
    nodes = (NodeTime("a/Conv", "nchwc.Conv", calls[0].name, 12.5), NodeTime("b, c", "Gemm", "", 3.0))
    one = Measured("small", "plain", 1, calls, nodes, 101.25)
    two = replace(one, threads=2, microseconds=60.0, nodes=())
    return Profile({"target": "host", "cpu": 'a "quick" one', "cores": 2}, (one, two))


def test_what_was_written_is_read_again(profile: Profile, tmp_path: Path) -> None:
    write_profile(tmp_path / "p", profile, {1: {"law": 2}})
    found = read_profile(tmp_path / "p")
    assert found.networks == profile.networks
    assert found.about == {"version": 1, **profile.about}
    assert json.loads((tmp_path / "p" / "model.json").read_text()) == {"1": {"law": 2}}


def test_the_calls_of_a_network_stand_once(profile: Profile, tmp_path: Path) -> None:
    write_profile(tmp_path, profile, {})
    lines = (tmp_path / "calls.csv").read_text().splitlines()
    assert len(lines) == 1 + len(profile.networks[0].calls)


def test_another_version_is_refused(profile: Profile, tmp_path: Path) -> None:
    write_profile(tmp_path, profile, {})
    (tmp_path / "profile.toml").write_text("version = 99\n")
    with pytest.raises(DeviceError, match="version 99"):
        read_about(tmp_path)
    with pytest.raises(DeviceError, match="not a profile"):
        read_about(tmp_path / "absent")


@pytest.mark.parametrize("file", ["calls.csv", "nodes.csv", "networks.csv"])
def test_a_damaged_table_is_named(profile: Profile, tmp_path: Path, file: str) -> None:
    write_profile(tmp_path, profile, {})
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text[: len(text) // 2] + "\nx\n")
    with pytest.raises(DeviceError, match="cannot be read") as caught:
        read_profile(tmp_path)
    assert file in str(caught.value.where)


def test_caches_are_the_devices_own_where_it_told_of_them() -> None:
    assert core_of({"caches": [48, 1024, 32768]}).caches == (48, 1024, 32768)
    assert core_of({"caches": [32, 1024]}).caches == (32, 1024, 1024)
    assert core_of({}) == core_of({"caches": []}) == core_of({"caches": [32]}) == USUAL
