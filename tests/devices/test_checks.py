"""What may be given to a device."""

from __future__ import annotations

import pytest

from compressor.devices.checks import checked_environment, checked_path, checked_program, checked_temporary
from compressor.errors import DeviceError


def test_paths_and_programs_are_looked_at() -> None:
    assert checked_path("/tmp/-x", "") == "/tmp/-x"
    assert checked_program(["ls", "-l"]) == ["ls", "-l"]
    with pytest.raises(DeviceError, match="not a program"):
        checked_program(["-l"])


def test_an_environment_is_looked_at() -> None:
    assert checked_environment(None) == {}
    assert checked_environment({"_A1": "any thing\n"}) == {"_A1": "any thing\n"}
    for wrong in ({"A-B": ""}, {"A": "a\0b"}):
        with pytest.raises(DeviceError):
            checked_environment(wrong)


def test_only_folders_of_ours_are_removed_later() -> None:
    assert checked_temporary("/data/local/tmp/compress-0a1b", "") == "/data/local/tmp/compress-0a1b"
    assert checked_temporary("/tmp/compress-qemu-1000-007", "") == "/tmp/compress-qemu-1000-007"  # emulation's
    for wrong in (
        "/",
        "/home/me",
        "compress-0a1b",
        "/tmp/compress-0a/..",
        "/tmp/compress-0a1b/x",
        "/tmp/compress-",
        "/tmp/compress--",
    ):
        with pytest.raises(DeviceError):
            checked_temporary(wrong, "")
