"""apt with its state in a folder of ours, and steps that are told in their own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.devices.emulation.packages import Apt, step
from compressor.errors import DeviceError


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of its own: nothing but what a test puts there, and `env`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(folder))
    _tool(folder, "dpkg", "echo amd64")
    _tool(folder, "apt-get", "exit 0")
    return folder


def _tool(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_apt_keeps_its_state_in_the_folder(tools: Path, tmp_path: Path) -> None:
    apt = Apt(tmp_path / "apt", tmp_path / "my.list")
    text = (apt.folder / "apt.conf").read_text()
    assert f'Dir::State "{apt.folder}";' in text
    assert f'Dir::Etc::sourcelist "{tmp_path}/my.list";' in text
    assert 'APT::Architectures { "amd64"; "arm64"; };' in text
    assert "sourcelist" not in (Apt(tmp_path / "other", None).folder / "apt.conf").read_text()


def test_what_a_package_needs_is_asked_of_apt(tools: Path, tmp_path: Path) -> None:
    _tool(tools, "apt-cache", "printf 'qemu-user\\n  Depends: libc6\\nlibc6\\n<gone>\\nlibglib2.0-0\\n |Depends: x\\n'")
    assert Apt(tmp_path / "apt", None).needs("qemu-user") == {"libc6", "libglib2.0-0"}


def test_what_apt_makes_of_its_lists_is_kept_whatever_this_machine_says(tools: Path, tmp_path: Path) -> None:
    _tool(tools, "apt-cache", 'echo "$@" > "$APT_CONFIG.said"; echo " Depends: python3.11-minimal"')
    apt = Apt(tmp_path / "apt", None)
    assert apt.python() == "python3.11"
    assert "Dir::Cache::pkgcache=pkgcache.bin" in (apt.folder / "apt.conf.said").read_text()


def test_a_download_that_fails_is_told_in_apts_words(tools: Path, tmp_path: Path) -> None:
    apt = Apt(tmp_path / "apt", None)
    _tool(tools, "apt-get", 'echo "E: no such package" >&2; exit 100')
    with pytest.raises(DeviceError, match=r"E: no such package\n.*sources"):
        apt.unpack(["x"], tmp_path / "there")
    apt.update()  # a list that cannot be read only matters where a package is then missing


def test_a_step_gives_its_stdout_or_its_last_words(tools: Path) -> None:
    _tool(tools, "good", "echo out; echo err >&2")
    _tool(tools, "bad", "echo out; echo it broke >&2; exit 3")
    assert step(["good"], "") == "out\n"
    assert step(["bad"], "", checked=False) == "out\n"
    with pytest.raises(DeviceError, match=r"it broke\n.*Mend it"):
        step(["bad"], "Mend it.")
