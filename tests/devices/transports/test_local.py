"""This machine as a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.devices.opening import open_device
from compressor.errors import DeviceError, DeviceLostError


def test_push_run_and_pull(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    lines: list[str] = []
    with open_device("local") as device, device.folder() as folder:
        device.push(tmp_path / "a.txt", f"{folder}/b.txt")
        done = device.run(["cat", f"{folder}/b.txt"], timeout=60, on_line=lines.append)
        device.pull(f"{folder}/b.txt", tmp_path / "c.txt")
    assert (done.status, lines) == (0, ["one", "two"])
    assert (tmp_path / "c.txt").read_text() == "one\ntwo\n"
    assert not Path(folder).exists()


def test_what_takes_too_long_is_lost_and_what_is_not_there_refused() -> None:
    with open_device("local") as device:
        with pytest.raises(DeviceLostError):
            device.run(["sleep", "60"], timeout=0.05)
        with pytest.raises(DeviceError):
            device.run(["/no/such/program"], timeout=5)
