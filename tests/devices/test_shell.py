"""The shell's side of a transport, with this machine's `sh` in the place of a device's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.processes import Ended, execute
from compressor.devices.shell import ShellDevice
from compressor.errors import DeviceError, DeviceLostError


class Here(ShellDevice):
    url = "here"

    def _execute(
        self,
        line: str,
        *,
        timeout: float,
        on_stdout: Callable[[bytes], None],
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        return execute([*self.shell, line], timeout=timeout, on_stdout=on_stdout, feed=feed)

    shell = ("sh", "-c")


class TestShell(Contract):
    @pytest.fixture
    def device(self) -> Device:
        return Here()

    def second(self, device: Device) -> Device:
        return Here()


def test_a_client_that_ends_without_the_programs_status_has_lost_the_device() -> None:
    device = Here()
    device.shell = ("sh", "-c", "echo 'Connection closed' >&2; exit 255")
    with pytest.raises(DeviceLostError, match="Connection closed"):
        device.run(["true"], timeout=10)


@pytest.mark.parametrize("status", ["", "ok", "-1", "9" * 5000, "²", "0 0"])
def test_a_status_that_is_none_is_a_lost_device(status: str) -> None:
    device, at = Here(), r"s/.*printf '\''\\n%s %s\\n'\'' \([0-9a-f]*\).*/\1/p"
    device.shell = (
        "sh",
        "-c",
        f'word=$(echo "$0" | sed -n "{at}"); printf "\\n%s {status}\\n" "$word" >&2; echo $word',
    )
    with pytest.raises(DeviceLostError, match="connection was lost"):
        device.run(["true"], timeout=10)


def test_what_a_login_says_is_no_answer(tmp_path: Path) -> None:
    device = Here()
    device.shell = ("sh", "-c", 'echo "Welcome to the board!"; printf "it is late"; eval "$0"')
    assert device.run(["echo", "a"], timeout=10).stdout == "a\n"
    with device.folder() as folder:
        (tmp_path / "file").write_bytes(b"content")
        device.push(tmp_path / "file", f"{folder}/file")
        device.pull(f"{folder}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    assert not Path(folder).exists()


def test_a_program_cannot_forge_its_status() -> None:
    done = Here().run(["sh", "-c", "printf '\\n0123456789abcdef 0\\n' >&2; exit 3"], timeout=10)
    assert done.status == 3


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(DeviceError, match="no folder can be made"), Here().folder():
        pytest.fail("there is none")


def test_the_first_error_is_told_when_the_folder_cannot_be_removed_either() -> None:
    device = Here()
    with pytest.raises(KeyError), device.folder() as path:  # noqa: PT012
        device.shell = ("sh", "-c", "exit 1")
        raise KeyError
    os.rmdir(path)
