"""The programs that reach devices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.devices.programs import WAYS_OUT, command, find
from compressor.errors import DeviceError


def test_the_environment_may_say_how_ssh_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_SSH", f"{sys.executable} -F 'my config'")
    assert command("ssh") == [sys.executable, "-F", "my config"]
    assert find("ssh") == sys.executable
    monkeypatch.setenv("COMPRESS_SSH", "ssh 'open")
    with pytest.raises(DeviceError, match="COMPRESS_SSH"):
        command("ssh")


@pytest.mark.parametrize("name", sorted(WAYS_OUT))
def test_what_is_missing_is_told_with_the_way_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("COMPRESS_SSH", raising=False)
    monkeypatch.delenv("COMPRESS_ADB", raising=False)
    assert find(name) is None
    with pytest.raises(DeviceError, match="PATH") as error:
        command(name)
    assert error.value.way_out == WAYS_OUT[name]
