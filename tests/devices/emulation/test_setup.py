"""Setting up emulation: what it refuses, and that it is all or nothing. That it works is seen by `-m emulated`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from compressor.devices.emulation import setup
from compressor.devices.emulation.root import Root, find_root
from compressor.devices.emulation.setup import set_up, wanted
from compressor.errors import DeviceError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "cache" / "qemu"))
    return tmp_path / "cache" / "qemu"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of its own: nothing but what a test puts there, and `env`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _tool(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def _set_up(**options: object) -> tuple[Root, list[str]]:
    said: list[str] = []
    return set_up(**{"force": False, "sources": None, "say": said.append, **options}), said  # type: ignore[arg-type]


def test_without_debians_tools_it_says_what_is_missing(place: Path, tools: Path) -> None:
    with pytest.raises(DeviceError, match=r"apt-get is not on this machine's PATH\n.*Debian"):
        _set_up()
    assert not [*place.parent.iterdir()]


def test_sources_without_arm64_are_told_and_nothing_is_left(place: Path, tools: Path) -> None:
    _tool(tools, "apt-get", "exit 100")
    _tool(tools, "apt-cache", "exit 0")
    _tool(tools, "dpkg", "echo amd64")
    with pytest.raises(DeviceError, match=r"no arm64 packages\n.*--sources"):
        _set_up()
    assert not [*place.parent.iterdir()]


def test_a_download_that_fails_is_told_in_apts_words(place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_fetch_wheels", lambda *_: None)
    _tool(tools, "apt-get", 'case "$1" in update) exit 0;; esac; echo "E: no such package" >&2; exit 100')
    _tool(tools, "apt-cache", "echo ' Depends: python3.13-minimal'")
    _tool(tools, "dpkg", "echo amd64")
    with pytest.raises(DeviceError, match="E: no such package"):
        _set_up()
    assert not [*place.parent.iterdir()]


def test_what_is_there_with_the_right_versions_stays(place: Path, tools: Path) -> None:
    place.mkdir(parents=True)
    wheels = wanted()
    Root(place, "python3.11", wheels, ("cortex-a76",)).save()
    root, said = _set_up()
    assert root == find_root()
    assert len(said) == 1
    assert "already" in said[0]
    Root(place, "python3.11", {**wheels, "numpy": "1.0"}, ("cortex-a76",)).save()
    with pytest.raises(DeviceError, match="apt-get"):  # other versions: it sets out to do it again
        _set_up()
    assert find_root() is not None  # and what was there is kept where it cannot


def test_a_root_that_does_not_run_the_runtime_is_not_kept(
    place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "Apt", lambda *_: None)

    def fill(folder: Path, apt: object, wheels: dict[str, str], *_: object) -> Root:
        for name in ("base/usr/bin/python3.11", "bin/qemu-aarch64-static"):
            (folder / name).parent.mkdir(parents=True)
            _tool((folder / name).parent, Path(name).name, "echo Illegal instruction >&2; exit 132")
        return Root(folder, "python3.11", wheels, ("cortex-a76",))

    monkeypatch.setattr(setup, "_fill", fill)
    with pytest.raises(DeviceError, match="does not load: status 132 Illegal instruction"):
        _set_up()
    assert find_root() is None
    assert not [*place.parent.iterdir()]


def test_what_a_killed_set_up_left_goes_with_the_next(place: Path, tools: Path) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    left, mine = (place.parent / f".qemu-{number}-x" for number in (gone.pid, os.getpid()))
    left.mkdir(parents=True)
    mine.mkdir()
    with pytest.raises(DeviceError, match="apt-get"):
        _set_up()
    assert [*place.parent.iterdir()] == [mine]


def test_a_package_without_the_emulator_is_told(place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_fetch_wheels", lambda *_: None)
    _tool(tools, "apt-get", "exit 0")
    _tool(tools, "apt-cache", "echo ' Depends: python3.13-minimal'")
    _tool(tools, "dpkg", "echo amd64")
    with pytest.raises(DeviceError, match=r"has no qemu-aarch64-static\n.*PATH"):
        _set_up()
    assert not [*place.parent.iterdir()]


def test_a_full_disk_is_one_error_and_nothing_is_left(
    place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Root:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(setup, "Apt", lambda *_: None)
    monkeypatch.setattr(setup, "_fill", full)
    with pytest.raises(DeviceError, match=r"No space left.*\n.*COMPRESS_QEMU"):
        _set_up()
    assert not [*place.parent.iterdir()]


def test_a_root_that_could_not_count_is_given_its_counter_when_it_can_be_had(
    place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tool(tools, "apt-get", "exit 0")
    _tool(tools, "dpkg", "echo amd64")
    place.mkdir(parents=True)
    wheels = wanted()
    Root(place, "python3.11", wheels, ("cortex-a76",), "there is no C compiler here.").save()
    root, said = _set_up()  # there still is none
    assert "no C compiler here. apt install gcc" in root.uncounted
    assert "will not be counted" in said[-1]
    assert root == find_root()
    monkeypatch.setattr(setup, "add_counter", lambda *_: "")
    assert _set_up()[0].uncounted == ""
    assert find_root() == Root(place, "python3.11", wheels, ("cortex-a76",))
    assert [path.name for path in place.iterdir()] == ["root.json"]
