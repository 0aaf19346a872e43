"""A bundle's target by its name, and never by a path."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from compressor.devices.named import named_target


def test_a_name_or_an_alias_is_a_target() -> None:
    found = named_target("raspberry-pi-5")
    assert found is not None
    assert found.name == "raspberry-pi-5"
    assert named_target("host") is not None


def test_a_path_is_not_opened_whatever_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = files("compressor.targets").joinpath("raspberry-pi-5.toml").read_text(encoding="utf-8")
    (tmp_path / "board.toml").write_text(board)
    monkeypatch.chdir(tmp_path)
    for path in ("board.toml", "./board.toml", str(tmp_path / "board.toml"), "..\\board.toml", "/dev/zero"):
        assert named_target(path) is None


@pytest.mark.parametrize("name", [None, 1, ["host"], {}, "", "no-such", "a\0b"])
def test_what_is_no_name_is_none(name: object) -> None:
    assert named_target(name) is None
