"""Sets up the emulated Arm root with one command, from Debian's packages and PyPI's wheels.

Nothing of the system changes and no root rights are needed: `apt-get download`, `dpkg -x` (`packages.py`), `pip install
--target`. The root is filled in a folder beside its place, tried, given its instruction counter (`counter.py`) where
that can be had, and renamed into place; what a killed set-up left behind goes with the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from compressor.devices.emulation.counter import add_counter
from compressor.devices.emulation.cpus import CPUS, cpuinfo
from compressor.devices.emulation.packages import Apt, step
from compressor.devices.emulation.root import Root, find_root, root_folder
from compressor.devices.emulation.tvm import TVM_SITE, fetch_tvm, tvm_wheels
from compressor.devices.processes import Lines, execute
from compressor.errors import DeviceError

__all__ = ["set_up", "wanted"]

_WHEELS = ("onnxruntime", "numpy")
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_TRIED_ON = ("cortex-a53", "cortex-a76")  # with and without dot products
_TRIAL = (
    "import ctypes, json, logging, numpy.random, onnxruntime; print(onnxruntime.__version__)"  # what a runner loads
)
_QEMU = "qemu-aarch64-static"
_ROOM = "Look at the room on the disk, or set COMPRESS_QEMU to another folder."


def wanted() -> dict[str, str]:
    """A root's wheels by name, as they are installed here. Raises DeviceError where one that it needs is not."""
    return {**{name: _installed(name) for name in _WHEELS}, **tvm_wheels()}


def set_up(*, force: bool, sources: Path | None, say: Callable[[str], None]) -> Root:
    """Set the root up, unless it is there with the versions that are installed here; `say` is told each step.

    Raises DeviceError where something is missing here, cannot be fetched, or does not run.
    """
    wheels = wanted()
    there = None if force else find_root()
    if there is not None and dict(there.wheels) == wheels:
        say("already set up; --force sets it up again")
        return _with_counter(there, sources, say) if there.uncounted else there
    place = root_folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}-{os.getpid()}-", dir=place.parent))
    except OSError as error:
        way_out = "Set COMPRESS_QEMU to a folder that can be made."
        raise DeviceError(f"cannot be made: {error.strerror}", where=str(place), way_out=way_out) from error
    try:
        apt = Apt(folder / "apt", sources)
        root = _fill(folder, apt, wheels, say)
        with ThreadPoolExecutor(1) as pool:
            counter = pool.submit(add_counter, root, apt, say)
            _try(root, say)
            root = replace(root, uncounted=counter.result())
        shutil.rmtree(apt.folder)
        root.save()
        _swap(folder, place)
    except OSError as error:
        raise DeviceError(f"cannot be filled: {error}", where=str(place), way_out=_ROOM) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return replace(root, path=place)


def _with_counter(there: Root, sources: Path | None, say: Callable[[str], None]) -> Root:
    """A root that is set up, and could not count until now."""
    try:
        with tempfile.TemporaryDirectory(dir=there.path) as folder:
            apt = Apt(Path(folder) / "apt", sources)
            apt.update()
            root = replace(there, uncounted=add_counter(there, apt, say))
        root.save()
    except OSError as error:
        raise DeviceError(f"cannot be filled: {error}", where=str(there.path), way_out=_ROOM) from error
    return root


def _fill(folder: Path, apt: Apt, wheels: dict[str, str], say: Callable[[str], None]) -> Root:
    say("reading Debian's list of arm64 packages")
    apt.update()
    python = apt.python()
    with ThreadPoolExecutor(2) as pool:
        say(f"fetching {python} and {', '.join(f'{name} {version}' for name, version in wheels.items())} for aarch64")
        fetching = [pool.submit(_fetch_wheels, folder, python, wheels)]
        if shutil.which(_QEMU) is None:
            say("fetching qemu")
            fetching.append(pool.submit(_fetch_qemu, apt, folder))
        libpython = python.replace("python", "libpython")
        packages = [f"{python}-minimal", f"{libpython}-minimal", f"{libpython}-stdlib", *_LIBRARIES]
        apt.unpack([f"{name}:arm64" for name in packages], folder / "base")
        for each in fetching:
            each.result()
    _finish(folder, python)
    return Root(folder, python, wheels, tuple(CPUS))


def _fetch_qemu(apt: Apt, folder: Path) -> None:
    """The one emulator that is needed, out of the package of all of them."""
    apt.unpack(["qemu-user-static"], folder / "qemu")
    emulator = folder / "qemu" / "usr" / "bin" / _QEMU
    if not emulator.is_file():
        way_out = f"Put {_QEMU} on the PATH."
        raise DeviceError(f"Debian's qemu-user-static here has no {_QEMU}", where="apt-get", way_out=way_out)
    (folder / "bin").mkdir()
    emulator.rename(folder / "bin" / _QEMU)
    shutil.rmtree(folder / "qemu")


def _finish(folder: Path, python: str) -> None:
    """A root for each core: links to the one base, and a /proc/cpuinfo of its own."""
    base = folder / "base"
    if not (base / "lib").exists():  # Debian 13's packages hold /usr/lib alone
        (base / "lib").symlink_to("usr/lib")
    for hidden in (f"usr/local/lib/{python}/dist-packages", "usr/lib/python3/dist-packages"):
        (base / hidden).mkdir(parents=True, exist_ok=True)  # or this machine's would be seen in their place
    for name, cpu in CPUS.items():
        root = folder / "cpus" / name
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(cpu, os.cpu_count() or 1), encoding="ascii")
        for entry in base.iterdir():
            (root / entry.name).symlink_to(Path("../../base") / entry.name)


def _fetch_wheels(folder: Path, python: str, wheels: dict[str, str]) -> None:
    digits = python.removeprefix("python").replace(".", "")
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    pip = [
        "--only-binary", ":all:", *platforms, "--python-version", digits, "--implementation", "cp",
        "--abi", f"cp{digits}", "--abi", "none",
    ]  # fmt: skip
    step(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile",
         "--target", str(folder / "site"), *pip, *(f"{name}=={wheels[name]}" for name in _WHEELS)],
        "Look at pip's index; `python -m ensurepip` where pip itself is missing.",
    )  # fmt: skip
    if set(wheels) > set(_WHEELS):
        fetch_tvm(folder / TVM_SITE, wheels, pip)


def _try(root: Root, say: Callable[[str], None]) -> None:
    """A root that cannot load the runtime is no root. Bytecode of what that imports stays: later starts take half."""
    say(f"trying it on {' and '.join(_TRIED_ON)}")
    compiling = root.environment({"PYTHONDONTWRITEBYTECODE": ""})
    for cpu in _TRIED_ON:
        argv = root.argv(cpu, [root.python, "-c", _TRIAL])
        if argv is None:
            raise DeviceError(f"Debian's packages hold no {root.python}", where=str(root.path))
        lines = Lines()
        ended = execute(argv, timeout=120, environment=compiling, on_stdout=lines.feed, where=cpu)
        if ended.status or lines.text.strip() != root.wheels["onnxruntime"]:
            said = (ended.stderr.strip() or lines.text.strip()).splitlines()[-1:]
            raise DeviceError(f"onnxruntime does not load: status {ended.status} {' '.join(said)}", where=cpu)


def _swap(folder: Path, place: Path) -> None:
    old = folder.with_name(f"{folder.name}-old")
    with contextlib.suppress(FileNotFoundError):
        place.rename(old)
    folder.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what set-ups left behind whose process is gone."""
    for folder in parent.glob(f".{root_folder().name}-*"):
        number = re.match(r"\.[^-]+-(\d+)-", folder.name)
        if number and not Path(f"/proc/{number[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        way_out = f"pip install {name}: the emulated one is made to match."
        raise DeviceError(f"{name} is not installed here", way_out=way_out) from None
