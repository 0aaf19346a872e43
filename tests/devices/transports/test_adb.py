"""A device reached by adb: the real client, and a stand-in for its server and the device behind it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_adb import SERIAL, StandIn, plugged_in
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.opening import open_device
from compressor.devices.transports import adb
from compressor.errors import DeviceError, DeviceLostError


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with plugged_in() as stand_in, pytest.MonkeyPatch.context() as patch:
        reach(stand_in, patch)
        yield stand_in


def reach(stand_in: StandIn, patch: pytest.MonkeyPatch) -> None:
    for name, value in stand_in.environment.items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def opened(server: StandIn) -> Iterator[Device]:
    with open_device(f"adb://{SERIAL}?python={sys.executable}") as device:
        yield device


class TestADB(Contract):
    @pytest.fixture
    def device(self, opened: Device) -> Device:
        return opened


def test_it_lists_what_is_attached(server: StandIn) -> None:
    assert adb.attached() == {SERIAL: "device", "busy0": "unauthorized"}


def test_androids_temporary_folder_is_its_own() -> None:
    assert adb.ADBDevice.temporary != "${TMPDIR:-/tmp}"


def test_what_is_not_attached_is_refused(server: StandIn) -> None:
    with pytest.raises(DeviceError, match=r"cannot be reached.*\n.*adb devices"):
        open_device("adb://nobody")


def test_a_device_that_tells_no_status_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with plugged_in("cmd") as old:
        reach(old, monkeypatch)
        with pytest.raises(DeviceError, match=r"shell v2.*\n.*Android 7"):
            open_device(f"adb://{SERIAL}")


def test_without_the_client_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_ADB", str(tmp_path / "adb"))
    with pytest.raises(DeviceError, match=r"adb.*PATH.*\n.*apt install adb"):
        open_device("adb://emulator-5554")


def test_a_device_that_goes_away_is_lost_and_can_be_reached_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with plugged_in() as stand_in:
        reach(stand_in, monkeypatch)
        with open_device(stand_in.url) as device, device.folder() as folder:
            with pytest.raises(DeviceLostError):
                device.run(["sh", "-c", "echo up; sleep 600"], timeout=60, on_line=lambda _: stand_in.replug())
            with pytest.raises(DeviceLostError, match="adb push failed"):
                device.push(tmp_path / "file", f"{folder}/file")
            with pytest.raises(DeviceLostError, match="adb pull failed"):
                device.pull(f"{folder}/file", tmp_path / "back")
            with pytest.raises(DeviceError, match="cannot be reached"):
                open_device(stand_in.url)
            stand_in.replug()
            assert device.run(["echo", "again"], timeout=60).stdout == "again\n"
            with pytest.raises(DeviceError, match="adb push failed"):
                device.push(tmp_path / "file", "/proc/none/file")
        assert list(stand_in.storage.iterdir()) == []


def test_a_pull_is_whole_or_not_there(server: StandIn, tmp_path: Path) -> None:
    with open_device(f"adb://{SERIAL}") as device, device.folder() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(os.urandom(1 << 20))
        device.pull(str(secret), tmp_path / "secret")
        assert (tmp_path / "secret").read_bytes() == secret.read_bytes()
        with pytest.raises(DeviceError):
            device.pull(f"{folder}/none", tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
