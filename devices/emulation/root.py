"""The emulated Arm root: where it is, what is in it, and how a program of it is started.

<user's cache>/qemu/            COMPRESS_QEMU names another folder
    base/     Debian's arm64 packages, unpacked: C library, Python
    site/     PyPI's aarch64 wheels: onnxruntime, numpy
    tvm/      TVM's runtime, where apache-tvm was installed at set-up: `tvm.py`
    bin/      qemu itself, where this machine had none
    counter/  what counts instructions, where that could be had: `counter.py`
    cpus/X/   base/ by links, and the /proc/cpuinfo of that core
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compressor.devices.runner.counting import COUNTS
from compressor.errors import DeviceError

__all__ = ["COUNTER", "COUNTING_QEMU", "MANIFEST", "PLUGIN", "Root", "find_root", "root_folder"]

MANIFEST = "root.json"
COUNTER, COUNTING_QEMU, PLUGIN = "counter", "qemu-aarch64", "count.so"
_QEMU = "qemu-aarch64-static"
_AGAIN = "Run `compress devices setup qemu --force`."
_REPEATABLE = ("-seed", "1", "-R", "16G")  # its random numbers, and addresses that this machine's do not shift
_OLD = "it was set up before there was a counter. Run `compress devices setup qemu`."


@dataclass(frozen=True)
class Root:
    """A root that is set up. `python` is the interpreter's name in it, `wheels` the versions by name.

    `uncounted` says why it counts no instructions, "" where it does.
    """

    path: Path
    python: str
    wheels: Mapping[str, str]
    cpus: tuple[str, ...]
    uncounted: str = ""

    @property
    def qemu(self) -> str:
        """The emulator. Raises DeviceError where it is gone."""
        own = self.path / "bin" / _QEMU
        found = str(own) if own.is_file() else shutil.which(_QEMU)
        if found is None:
            raise DeviceError(f"{_QEMU} is gone from this machine", way_out=_AGAIN)
        return found

    def argv(self, cpu: str, program: Sequence[str], *, counting: bool = False) -> list[str] | None:
        """What starts a program on an emulated core; None where there is no such program."""
        found = self._find(program[0])
        if found is None:
            return None
        emulator = self._counting() if counting else [self.qemu]
        return [*emulator, "-cpu", cpu, "-L", str(self.path / "cpus" / cpu), found, *program[1:]]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """All of an emulated program's environment: none of this machine's, so that runs repeat exactly.

        Where it names a file for counts, the emulator finds its libraries by it, too; they are not the program's.
        """
        own = {
            "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONPATH": str(self.path / "site"),
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # threads of its, as they happen to run, shift what the heap looks like
        }  # fmt: skip
        if COUNTS in given:
            own["LD_LIBRARY_PATH"] = str(self.path / COUNTER / "lib")
        return {**own, **given}

    def save(self) -> None:
        """Write down what is here: the last thing that a set-up does."""
        text = json.dumps({name: value for name, value in asdict(self).items() if name != "path"}, sort_keys=True)
        (self.path / MANIFEST).write_text(text, encoding="utf-8")

    def _counting(self) -> list[str]:
        """The emulator that counts. Raises DeviceError where there is none."""
        if self.uncounted:
            raise DeviceError(f"instructions are not counted: {self.uncounted}", where=str(self.path))
        folder = self.path / COUNTER
        plugin = str(folder / PLUGIN).replace(",", ",,")  # a comma would begin an option of the plugin's
        return [str(folder / COUNTING_QEMU), "-U", "LD_LIBRARY_PATH", "-plugin", plugin, *_REPEATABLE]

    def _find(self, name: str) -> str | None:
        """A program of the root by its name; one that was pushed, by its path."""
        if "/" not in name:
            places = [self.path / "base" / folder / name for folder in ("usr/bin", "bin", "usr/sbin")]
        else:
            places = [self.path / "base" / name.lstrip("/"), Path(name)]
        return next((str(place) for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def root_folder() -> Path:
    """Where the root is, or would be set up."""
    import platformdirs

    said = os.environ.get("COMPRESS_QEMU")
    return Path(said).absolute() if said else Path(platformdirs.user_cache_dir("edge-compressor")) / "qemu"


def find_root() -> Root | None:
    """The root that is set up, if one is. Raises DeviceError where what is there is not one."""
    folder = root_folder()
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Root(
            folder, str(found["python"]), dict(found["wheels"]), tuple(found["cpus"]), str(found.get("uncounted", _OLD))
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        way_out = _AGAIN
        raise DeviceError("is not an emulated root", where=str(folder), way_out=way_out) from error
