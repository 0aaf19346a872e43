"""The emulated root's instruction counter: qemu's build that loads plugins, and `count.c` compiled for it.

<root>/counter/
    qemu-aarch64    out of Debian's qemu-user: the static build, which runs all else, loads no plugins
    lib/            libraries of its that this machine lacks
    count.so        compiled by this machine's compiler

Where one of these cannot be had, emulation works without counts, and the root says why.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from compressor.devices.emulation.packages import Apt, step
from compressor.devices.emulation.root import COUNTER, COUNTING_QEMU, PLUGIN, Root
from compressor.devices.processes import Lines, execute
from compressor.devices.runner.counting import COUNTS, MARK
from compressor.errors import DeviceError

__all__ = ["add_counter"]

_SOURCE = Path(__file__).with_name("count.c")
_COMPILERS = ("cc", "gcc", "clang")
_APIS = (2, 1)  # qemu 9 and newer refuse 1, older ones 2
_OWN = ("libc6", "libgcc-s1")  # this machine's own are never replaced
_AGAIN = "then run `compress devices setup qemu` again."
_TRIAL = f"""
import ctypes
mark = ctypes.CDLL(None).syscall
mark({MARK}, 1)
for _ in range(1000): pass
mark({MARK}, 0)
"""


def add_counter(root: Root, apt: Apt, say: Callable[[str], None]) -> str:
    """Give a root its counter. "" or, in one sentence, why it has none. Raises OSError where the disk refuses."""
    folder = root.path / COUNTER
    shutil.rmtree(folder, ignore_errors=True)
    say("fetching qemu's build with plugins, and compiling the instruction counter")
    try:
        compiler = _compiler()
        _fetch(apt, folder)
        _compile(compiler, root)
    except DeviceError as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = f"{error.what.splitlines()[-1]}. {error.way_out}".strip()
        say(f"instructions will not be counted: {reason}")
        return reason
    return ""


def _compiler() -> str:
    found = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        raise DeviceError("there is no C compiler here", way_out=f"apt install gcc libc6-dev, {_AGAIN}")
    return found


def _fetch(apt: Apt, folder: Path) -> None:
    """The one emulator that is needed, out of the package of all of them, with libraries where any is missing."""
    with tempfile.TemporaryDirectory(dir=apt.folder) as unpacked:
        apt.unpack(["qemu-user"], Path(unpacked))
        emulator = Path(unpacked) / "usr" / "bin" / COUNTING_QEMU
        if not emulator.is_file():
            raise DeviceError(f"Debian's qemu-user here has no {COUNTING_QEMU}", way_out="Look at apt's sources.")
        (folder / "lib").mkdir(parents=True)
        shutil.copy2(emulator, folder / COUNTING_QEMU)
    if not _missing(folder):
        return
    with tempfile.TemporaryDirectory(dir=apt.folder) as unpacked:
        apt.unpack([name for name in sorted(apt.needs("qemu-user")) if not _is_own(name)], Path(unpacked))
        found = {library.name: library for library in Path(unpacked).rglob("lib*.so.*") if library.is_file()}
        while missing := _missing(folder):  # a library may need others
            if not set(missing) & found.keys():
                way_out = f"Install what holds them, {_AGAIN}"
                raise DeviceError(f"qemu lacks {', '.join(missing)}", where=COUNTING_QEMU, way_out=way_out)
            for name in set(missing) & found.keys():  # links are followed: each name becomes a file
                shutil.copy2(found.pop(name), folder / "lib" / name)


def _is_own(package: str) -> bool:
    return package in _OWN or package.startswith("gcc-")


def _missing(folder: Path) -> list[str]:
    """Libraries that the emulator does not find."""
    environment = {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": str(folder / "lib")}
    text = step(["ldd", str(folder / COUNTING_QEMU)], "", environment=environment)
    return [line.split()[0] for line in text.splitlines() if line.endswith("=> not found")]


def _compile(compiler: str, root: Root) -> None:
    """The plugin, for the version of the interface that the emulator knows. It counts once, or it is none."""
    said, plugin = "", str(root.path / COUNTER / PLUGIN)
    for api in _APIS:
        argv = [compiler, "-O2", "-shared", "-fPIC", f"-DAPI={api}", "-o", plugin, str(_SOURCE)]
        step(argv, f"apt install gcc libc6-dev, {_AGAIN}")
        said = _tried(root)
        if not said:
            return
    raise DeviceError(f"qemu does not count: {said}", where=PLUGIN, way_out="Use Debian 12 or newer.")


def _tried(root: Root) -> str:
    """Count a loop; "" or what went wrong."""
    cpu = root.cpus[0]
    with tempfile.TemporaryDirectory(dir=root.path) as folder:
        counts = Path(folder) / "counts"
        argv = root.argv(cpu, [root.python, "-c", _TRIAL], counting=True) or []
        environment = root.environment({COUNTS: str(counts)})
        ended = execute(argv, timeout=120, environment=environment, on_stdout=Lines().feed, where=COUNTING_QEMU)
        text = counts.read_text(encoding="ascii").strip() if counts.exists() else ""
    if ended.status == 0 and text.isdigit() and int(text) > 1000:
        return ""
    return (ended.stderr.strip().splitlines() or [f"status {ended.status}, {text or 'no'} instructions"])[-1]
