"""Sets up the emulated Arm root with one command, from Debian's packages and PyPI's wheels.

apt is given a configuration of its own (its state in our folder, arm64 beside this machine's architecture), so that
nothing of the system changes and no root rights are needed: `apt-get download`, `dpkg -x`, `pip install --target`. The
root is filled in a folder beside its place, tried, and renamed into place; what a killed set-up left behind goes with
the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from compressor.devices.emulation.cpus import CPUS, cpuinfo
from compressor.devices.emulation.root import Root, find_root, root_folder
from compressor.devices.processes import Lines, execute
from compressor.devices.programs import command
from compressor.errors import DeviceError

__all__ = ["set_up"]

_TIMEOUT = 600.0  # seconds for any one step
_WHEELS = ("onnxruntime", "numpy")
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_TRIED_ON = ("cortex-a53", "cortex-a76")  # with and without dot products
_QEMU = "qemu-aarch64-static"


def set_up(*, force: bool, sources: Path | None, say: Callable[[str], None]) -> Root:
    """Set the root up, unless it is there with the versions that are installed here; `say` is told each step.

    Raises DeviceError where something is missing here, cannot be fetched, or does not run.
    """
    wheels = {name: _installed(name) for name in _WHEELS}
    there = None if force else find_root()
    if there is not None and dict(there.wheels) == wheels:
        say("already set up; --force sets it up again")
        return there
    place = root_folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}-{os.getpid()}-", dir=place.parent))
    except OSError as error:
        way_out = "Set COMPRESS_QEMU to a folder that can be made."
        raise DeviceError(f"cannot be made: {error.strerror}", where=str(place), way_out=way_out) from error
    try:
        root = _fill(folder, wheels, sources, say)
        _try(root, say)
        root.save()
        _swap(folder, place)
    except OSError as error:
        way_out = "Look at the room on the disk, or set COMPRESS_QEMU to another folder."
        raise DeviceError(f"cannot be filled: {error}", where=str(place), way_out=way_out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Root(place, root.python, root.wheels, root.cpus)


def _fill(folder: Path, wheels: dict[str, str], sources: Path | None, say: Callable[[str], None]) -> Root:
    apt = _Apt(folder / "apt", sources)
    say("reading Debian's list of arm64 packages")
    apt.update()
    python = apt.python()
    with ThreadPoolExecutor(1) as pool:
        say(f"fetching {python} and {', '.join(f'{name} {version}' for name, version in wheels.items())} for aarch64")
        fetching = pool.submit(_fetch_wheels, folder / "site", python, wheels)
        libpython = python.replace("python", "libpython")
        packages = [f"{python}-minimal", f"{libpython}-minimal", f"{libpython}-stdlib", *_LIBRARIES]
        apt.unpack([f"{name}:arm64" for name in packages], folder / "base")
        if shutil.which(_QEMU) is None:
            say("fetching qemu")
            _fetch_qemu(apt, folder)
        fetching.result()
    shutil.rmtree(folder / "apt")
    _finish(folder, python)
    return Root(folder, python, wheels, tuple(CPUS))


def _fetch_qemu(apt: _Apt, folder: Path) -> None:
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


def _fetch_wheels(site: Path, python: str, wheels: dict[str, str]) -> None:
    digits = python.removeprefix("python").replace(".", "")
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    _checked(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile",
         "--target", str(site), "--only-binary", ":all:", *platforms, "--python-version", digits,
         "--implementation", "cp", "--abi", f"cp{digits}", *(f"{name}=={version}" for name, version in wheels.items())],
        "Look at pip's index; `python -m ensurepip` where pip itself is missing.",
    )  # fmt: skip


def _try(root: Root, say: Callable[[str], None]) -> None:
    """A root that cannot load the runtime is no root."""
    say(f"trying it on {' and '.join(_TRIED_ON)}")
    for cpu in _TRIED_ON:
        argv = root.argv(cpu, [root.python, "-c", "import onnxruntime; print(onnxruntime.__version__)"])
        if argv is None:
            raise DeviceError(f"Debian's packages hold no {root.python}", where=str(root.path))
        lines = Lines()
        ended = execute(argv, timeout=120, environment=root.environment({}), on_stdout=lines.feed, where=cpu)
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


class _Apt:
    """apt with its state in a folder of ours."""

    def __init__(self, folder: Path, sources: Path | None) -> None:
        self.folder = folder
        self.apt, self.dpkg = command("apt-get"), command("dpkg")
        native = _checked([*self.dpkg, "--print-architecture"], "").strip()
        architectures = "; ".join(f'"{name}"' for name in dict.fromkeys((native, "arm64")))
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        lines = [
            f'APT::Architecture "{native}";', f"APT::Architectures {{ {architectures}; }};", f'Dir::State "{folder}";',
            f'Dir::State::status "{folder}/status";', f'Dir::State::lists "{folder}/lists";', f'Dir::Cache "{folder}";',
            'Acquire::Languages "none";', 'Acquire::Retries "2";',
        ]  # fmt: skip
        if sources is not None:
            lines += [f'Dir::Etc::sourcelist "{sources.absolute()}";', 'Dir::Etc::sourceparts "-";']
        (folder / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def update(self) -> None:
        """Read the lists. A source without arm64 fails here, and only matters where a package is then missing."""
        self._run([*self.apt, "update", "-q"], checked=False)

    def python(self) -> str:
        """The name of Debian's current Python, such as python3.11."""
        text = self._run(["apt-cache", "depends", "python3-minimal:arm64"], checked=False)
        found = re.search(r"\b(python3\.\d+)-minimal\b", text)
        if found is None:
            raise DeviceError(
                "apt's sources here have no arm64 packages", where="apt-get update",
                way_out="Give sources that have: --sources FILE, with `deb [arch=arm64,amd64] URL bookworm main`.",
            )  # fmt: skip
        return found[1]

    def unpack(self, packages: Sequence[str], destination: Path) -> None:
        downloads = Path(tempfile.mkdtemp(dir=self.folder))
        self._run([*self.apt, "download", "-q", *packages], cwd=downloads)
        for package in sorted(downloads.glob("*.deb")):
            _checked([*self.dpkg, "-x", str(package), str(destination)], "Look at the room on the disk.")

    def _run(self, argv: Sequence[str], *, checked: bool = True, cwd: Path | None = None) -> str:
        moved = ["env", "-C", str(cwd), *argv] if cwd else argv
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        return _checked(moved, "Look at apt's sources.", environment=environment, checked=checked)


def _checked(
    argv: Sequence[str], way_out: str, *, environment: dict[str, str] | None = None, checked: bool = True
) -> str:
    """Run a step; its stdout. Raises DeviceError with its last words where it fails."""
    lines = Lines()
    ended = execute(argv, timeout=_TIMEOUT, environment=environment, on_stdout=lines.feed, where=argv[0])
    if ended.status and checked:
        said = [line for line in ended.stderr.splitlines() if line.startswith(("E:", "ERROR"))] or [
            ended.stderr.strip()
        ]
        raise DeviceError(said[-1][-500:], where=" ".join(argv[:4]), way_out=way_out)
    return lines.text
