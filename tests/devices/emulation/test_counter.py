"""The instruction counter: what it lacks is told, and emulation goes on without it. What counts is `-m emulated`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from emulation import emulated_root

from compressor.devices.emulation import counter
from compressor.devices.emulation.counter import add_counter
from compressor.devices.emulation.packages import Apt
from compressor.devices.emulation.root import COUNTER, COUNTING_QEMU, PLUGIN, Root
from compressor.devices.processes import Lines, execute
from compressor.devices.runner.counting import COUNTS, MARK
from compressor.errors import DeviceError

SOURCE = Path(counter.__file__).with_name("count.c")


class Packages(Apt):
    """Stands in for Debian: `qemu-user` is a script that does what a test says."""

    def __init__(self, folder: Path, script: str, *, libraries: bool = True) -> None:
        self.folder, self.script, self.libraries, self.asked = folder, script, libraries, [""]
        folder.mkdir()

    def needs(self, package: str) -> set[str]:
        return {"libc6", "gcc-12-base", "libcapstone4"}

    def unpack(self, packages, destination) -> None:  # type: ignore[no-untyped-def]
        self.asked += packages
        if "qemu-user" in packages and self.script:
            place = destination / "usr/bin" / COUNTING_QEMU
            place.parent.mkdir(parents=True)
            _program(place, self.script)
        if "libcapstone4" in packages and self.libraries:
            (destination / "usr/lib").mkdir(parents=True)
            (destination / "usr/lib/libcapstone.so.4").touch()


def _program(place: Path, script: str) -> None:
    place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    place.chmod(0o755)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """With a compiler that writes nothing, and a qemu whose libraries are all there."""
    for name in ("tools/cc", "base/usr/bin/python3.11"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        _program(tmp_path / name, "exit 0")
    _program(tmp_path / "tools/ldd", "echo 'libz.so.1 => /lib/libz.so.1 (0x1)'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    return Root(tmp_path, "python3.11", {}, ("cortex-a76",))


def _add(root: Root, apt: Apt) -> tuple[str, list[str]]:
    said: list[str] = []
    return add_counter(root, apt, said.append), said


def test_a_counter_that_counts_is_kept(root: Root) -> None:
    apt = Packages(root.path / "apt", f'echo 2000 > "${COUNTS}"')
    assert _add(root, apt)[0] == ""
    assert (root.path / COUNTER / COUNTING_QEMU).is_file()
    assert apt.asked == ["", "qemu-user"], "no library is fetched that is there"


def test_without_a_compiler_it_says_what_is_missing_and_how_to_get_it(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(root.path))
    reason, said = _add(root, Packages(root.path / "apt", "exit 0"))
    assert "no C compiler here. apt install gcc" in reason
    assert "compress devices setup qemu" in reason
    assert reason in said[-1]
    assert not (root.path / COUNTER).exists()


def test_a_compiler_without_headers_is_told_in_its_words(root: Root) -> None:
    _program(root.path / "tools/cc", "echo 'fatal error: stdint.h: No such file' >&2; exit 1")
    reason, _ = _add(root, Packages(root.path / "apt", "exit 0"))
    assert "stdint.h: No such file. apt install gcc libc6-dev" in reason


def test_a_package_without_the_emulator_is_told(root: Root) -> None:
    assert "has no qemu-aarch64" in _add(root, Packages(root.path / "apt", ""))[0]


@pytest.mark.parametrize("script", ["exit 0", f'echo 3 > "${COUNTS}"', "echo 'unknown API version' >&2; exit 1"])
def test_one_that_does_not_count_is_not_kept(root: Root, script: str) -> None:
    reason, _ = _add(root, Packages(root.path / "apt", script))
    assert "qemu does not count: " in reason
    assert any(word in reason for word in ("no instructions", "3 instructions", "unknown API version"))
    assert not (root.path / COUNTER).exists()


def test_the_version_of_the_interface_is_the_one_that_qemu_takes(root: Root) -> None:
    _program(root.path / "tools/cc", 'echo "$4" > "$6"')
    grep = f'grep -q API=1 "$4" && echo 2000 > "${COUNTS}"'
    assert _add(root, Packages(root.path / "apt", grep))[0] == ""
    assert "API=1" in (root.path / COUNTER / PLUGIN).read_text()


def test_libraries_that_are_missing_are_fetched_but_never_the_c_library(root: Root) -> None:
    found = 'test -e "$LD_LIBRARY_PATH/libcapstone.so.4" && echo "x => y" || echo "libcapstone.so.4 => not found"'
    _program(root.path / "tools/ldd", found)
    apt = Packages(root.path / "apt", f'echo 2000 > "${COUNTS}"')
    assert _add(root, apt)[0] == ""
    assert apt.asked == ["", "qemu-user", "libcapstone4"]
    shutil.rmtree(apt.folder)
    reason, _ = _add(root, Packages(root.path / "apt", "exit 0", libraries=False))
    assert "qemu lacks libcapstone.so.4" in reason


def test_the_mark_is_one_number_on_both_sides() -> None:
    assert f"#define MARK {MARK} " in SOURCE.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("api", [1, 2])
def test_the_plugin_compiles_without_a_warning(tmp_path: Path, api: int) -> None:
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-DAPI={api}"]
    subprocess.run(["cc", *flags, "-o", str(tmp_path / PLUGIN), str(SOURCE)], check=True)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Root:
    root = emulated_root(tmp_path_factory)
    if root.uncounted:
        pytest.skip(f"instructions cannot be counted: {root.uncounted}")
    return root


def _counts(root: Root, code: str, place: Path) -> list[int]:
    argv = root.argv("cortex-a76", [root.python, "-c", f"{PREFIX}{code}"], counting=True) or []
    environment, lines = root.environment({COUNTS: str(place)}), Lines()
    ended = execute(argv, timeout=120, environment=environment, on_stdout=lines.feed)
    assert ended.status == 0, ended.stderr
    return [int(line) for line in place.read_text().split()]


PREFIX = f"""
import ctypes, os, threading
libc = ctypes.CDLL(None)
def marked(work):
    libc.syscall({MARK}, 1); work(); libc.syscall({MARK}, 0)
def loop(n):
    for _ in range(n): pass
loop(10)
"""


@pytest.mark.emulated
def test_each_region_is_counted_by_itself(emulated: Root, tmp_path: Path) -> None:
    short, again, long = _counts(emulated, "for n in (1000, 1000, 9000): marked(lambda: loop(n))", tmp_path / "counts")
    assert short == pytest.approx(again, rel=0.02)
    an_iteration = (long - again) / 8000
    assert 10 < an_iteration < 400
    assert again == pytest.approx(1000 * an_iteration, rel=0.3)


@pytest.mark.emulated
def test_another_thread_is_not_counted_and_a_fork_is(emulated: Root, tmp_path: Path) -> None:
    code = """
go, done = threading.Event(), threading.Event()
threading.Thread(target=lambda: (go.wait(), loop(300_000), done.set())).start()
marked(lambda: loop(1000))
marked(lambda: (go.set(), done.wait()))
if not os.fork():
    marked(lambda: loop(1000))
    os._exit(0)
os.wait()
"""
    alone, beside, forked = _counts(emulated, code, tmp_path / "counts")
    assert beside < 300_000 * 10, "the loop of the other thread is not in it"
    assert forked == pytest.approx(alone, rel=0.05)


@pytest.mark.emulated
def test_the_emulators_libraries_are_not_the_programs(emulated: Root, tmp_path: Path) -> None:
    place = tmp_path / "counts"
    _counts(emulated, "assert 'LD_LIBRARY_PATH' not in os.environ; marked(int)", place)
    assert os.environ.get(COUNTS) is None


def test_a_root_without_a_counter_refuses_to_count(root: Root) -> None:
    without = Root(root.path, root.python, {}, root.cpus, "there is no C compiler here.")
    with pytest.raises(DeviceError, match="not counted: there is no C compiler"):
        without.argv("cortex-a76", [root.python], counting=True)
