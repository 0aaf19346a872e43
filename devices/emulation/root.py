"""The emulated Arm root: where it is, what is in it, and how a program of it is started.

<user's cache>/qemu/            COMPRESS_QEMU names another folder
    base/     Debian's arm64 packages, unpacked: C library, Python
    site/     PyPI's aarch64 wheels: onnxruntime, numpy
    bin/      qemu itself, where this machine had none
    cpus/X/   base/ by links, and the /proc/cpuinfo of that core
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compressor.errors import DeviceError

__all__ = ["MANIFEST", "Root", "find_root", "root_folder"]

MANIFEST = "root.json"
_QEMU = "qemu-aarch64-static"
_AGAIN = "Run `compress devices setup qemu --force`."


@dataclass(frozen=True)
class Root:
    """A root that is set up. `python` is the interpreter's name in it, `wheels` the versions by name."""

    path: Path
    python: str
    wheels: Mapping[str, str]
    cpus: tuple[str, ...]

    @property
    def qemu(self) -> str:
        """The emulator. Raises DeviceError where it is gone."""
        own = self.path / "bin" / _QEMU
        found = str(own) if own.is_file() else shutil.which(_QEMU)
        if found is None:
            raise DeviceError(f"{_QEMU} is gone from this machine", way_out=_AGAIN)
        return found

    def argv(self, cpu: str, program: Sequence[str]) -> list[str] | None:
        """What starts a program on an emulated core; None where there is no such program."""
        found = self._find(program[0])
        if found is None:
            return None
        return [self.qemu, "-cpu", cpu, "-L", str(self.path / "cpus" / cpu), found, *program[1:]]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """All of an emulated program's environment: none of this machine's, so that runs repeat exactly."""
        own = {
            "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONPATH": str(self.path / "site"),
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
        }  # fmt: skip
        return {**own, **given}

    def save(self) -> None:
        """Write down what is here: the last thing that a set-up does."""
        text = json.dumps({name: value for name, value in asdict(self).items() if name != "path"}, sort_keys=True)
        (self.path / MANIFEST).write_text(text, encoding="utf-8")

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
        return Root(folder, str(found["python"]), dict(found["wheels"]), tuple(found["cpus"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        way_out = _AGAIN
        raise DeviceError("is not an emulated root", where=str(folder), way_out=way_out) from error
