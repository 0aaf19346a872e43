"""Names for devices, on disk."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from compressor.devices.registry import add, config_file, remove, saved
from compressor.errors import DeviceError


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "new" / "config"))
    return tmp_path / "new" / "config" / "devices.toml"


def test_names_are_added_replaced_and_removed(config: Path) -> None:
    assert saved() == {}
    assert config_file() == config
    assert not config.exists()
    assert add("pi", "ssh://pi@board")
    assert add("a76", "qemu://cortex-a76")
    assert not add("pi", "ssh://pi@other")
    assert saved() == {"a76": "qemu://cortex-a76", "pi": "ssh://pi@other"}
    assert tomllib.loads(config.read_text(encoding="utf-8"))["devices"] == saved()
    assert remove("pi") == "ssh://pi@other"
    assert saved() == {"a76": "qemu://cortex-a76"}
    assert [path.name for path in config.parent.iterdir()] == ["devices.toml"]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "local", "ssh", "a:b", "ü", ".x", "x" * 65, "a\n"])
def test_a_name_that_is_no_plain_word_is_refused(name: str, config: Path) -> None:
    with pytest.raises(DeviceError, match="cannot name a device"):
        add(name, "local")
    assert not config.exists()


def test_a_url_is_looked_at_before_it_is_saved(config: Path) -> None:
    with pytest.raises(DeviceError, match="unknown kind"):
        add("pi", "shs://board")
    assert not config.exists()


def test_an_unknown_name_cannot_be_removed() -> None:
    with pytest.raises(DeviceError, match="No names are saved"):
        remove("pi")
    add("kitchen-pi", "ssh://pi@board")
    with pytest.raises(DeviceError, match="Did you mean kitchen-pi"):
        remove("kitchn-pi")


@pytest.mark.parametrize("text", ["[devices", "devices = 3", "[devices]\npi = 3", "a = " + "[" * 10_000])
def test_a_file_that_is_none_is_refused_and_kept(config: Path, text: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text, encoding="utf-8")
    for action in (saved, lambda: add("pi", "local")):
        with pytest.raises(DeviceError, match=r"devices\.toml"):
            action()
    assert config.read_text(encoding="utf-8") == text


def test_what_cannot_be_written_leaves_what_was_there(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add("pi", "ssh://pi@board")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DeviceError, match=r"No space left.*\n.*COMPRESS_CONFIG"):
        add("other", "local")
    assert saved() == {"pi": "ssh://pi@board"}
    assert [path.name for path in config.parent.iterdir()] == ["devices.toml"]
