"""What can be used right now."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.devices import visible
from compressor.devices.emulation.root import Root
from compressor.devices.visible import Seen, seen
from compressor.errors import DeviceError, DeviceLostError


def test_this_machine_is_always_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_ADB", str(tmp_path / "adb"))
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "qemu"))
    assert seen() == [Seen("local", "ready")]


def test_attached_and_emulated_devices_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(visible, "find", lambda name: "/bin/adb")
    monkeypatch.setattr(visible, "attached", lambda: {"a1": "device", "b2": "unauthorized"})
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    Root(tmp_path, "python3.11", {}, ("cortex-a76",)).save()
    assert seen()[1:] == [
        Seen("adb://a1", "ready"), Seen("adb://b2", "unauthorized"),
        Seen("qemu://cortex-a76", "ready, emulated: not timed"),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [DeviceError("adb lists no devices"), DeviceLostError("no answer within 30 s")])
def test_an_adb_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    def fails() -> dict[str, str]:
        raise error

    monkeypatch.setattr(visible, "find", lambda name: "/bin/adb")
    monkeypatch.setattr(visible, "attached", fails)
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    Root(tmp_path, "python3.11", {}, ("cortex-a76",)).save()
    local, adb, qemu = seen()
    assert (local.state, adb.url, qemu.url) == ("ready", "adb://", "qemu://cortex-a76")
    assert str(error) in adb.state
