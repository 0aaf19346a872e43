"""A device reached by adb: the real client, and a stand-in for its server and the device behind it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian import libraries, program
from loopback_ssh import free_port
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.opening import open_device
from compressor.devices.transports import adb
from compressor.errors import DeviceError, DeviceLostError

SERVER = Path(__file__).resolve().parents[1] / "adb_server.py"
PACKAGES = ("adb", "android-libbase", "android-libboringssl", "android-libcutils", "android-liblog", "libusb-1.0-0")
SERIAL = "emulator-5554"


@pytest.fixture(scope="module")
def client() -> Path:
    return program("adb", PACKAGES)


class StandIn:
    """A running server, and the environment that leads the client to it."""

    def __init__(self, client: Path, home: Path, *features: str) -> None:
        self.port = free_port()
        command = [sys.executable, str(SERVER), str(self.port), SERIAL, *features]
        self.process = subprocess.Popen(command, start_new_session=True)
        self.environment = {"COMPRESS_ADB": f"{client} -P {self.port}", "HOME": str(home)}
        if not client.is_relative_to("/usr"):
            self.environment["LD_LIBRARY_PATH"] = libraries(client.parents[2])
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the stand-in does not listen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    stand_in = StandIn(client, tmp_path_factory.mktemp("home"), "shell_v2", "cmd", "fixed_push_mkdir")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adb.ADBDevice, "temporary", str(tmp_path_factory.mktemp("tmp")))  # /data is Android's alone
        for name, value in stand_in.environment.items():
            patch.setenv(name, value)
        yield stand_in
    stand_in.stop()


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


def test_a_device_that_tells_no_status_is_refused(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = StandIn(client, tmp_path, "cmd")
    for name, value in old.environment.items():
        monkeypatch.setenv(name, value)
    try:
        with pytest.raises(DeviceError, match=r"shell v2.*\n.*Android 7"):
            open_device(f"adb://{SERIAL}")
    finally:
        old.stop()


def test_without_the_client_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_ADB", str(tmp_path / "adb"))
    with pytest.raises(DeviceError, match=r"adb.*PATH.*\n.*apt install adb"):
        open_device("adb://emulator-5554")


def test_a_device_that_goes_away_is_lost(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(client, tmp_path, "shell_v2")
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)
    with open_device(f"adb://{SERIAL}") as device:
        try:
            with pytest.raises(DeviceLostError):
                device.run(["sh", "-c", "echo up; sleep 600"], timeout=60, on_line=lambda _: stand_in.stop())
        finally:
            stand_in.stop()


def test_a_pull_is_whole_or_not_there(server: StandIn, tmp_path: Path) -> None:
    with open_device(f"adb://{SERIAL}") as device, device.folder() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(os.urandom(1 << 20))
        device.pull(str(secret), tmp_path / "secret")
        assert (tmp_path / "secret").read_bytes() == secret.read_bytes()
        with pytest.raises(DeviceError):
            device.pull(f"{folder}/none", tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
