"""Objects that TVM has compiled become one shared library: here, or by a script on the board.

host, and boards of this machine's kind   g++, clang++ or c++
other Linux boards                        TRIPLE-g++ (Debian's g++-aarch64-linux-gnu), else PyPI's ziglang
none of these                             model-0.o …, and build-model.sh, which links them where it is run
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from compressor.errors import ExportError
from compressor.export.tvm_boards import is_foreign
from compressor.targets.target import Compiler

__all__ = ["BUILD", "Linker", "find_linker", "finish", "linkers"]

BUILD = "build-model.sh"
_OWN = ("g++", "clang++", "c++")
_OPTIONS = ("-shared", "-fPIC", "-Wl,--strip-all")
_ZIG = "ziglang"


@dataclass(frozen=True)
class Linker:
    """A compiler's command line that objects are appended to; empty where none is here."""

    command: tuple[str, ...]


def find_linker(compiler: Compiler) -> Linker:
    """What links for the board here. Raises ExportError where this machine's own compiler would, and there is none."""
    return Linker(_cross(compiler) if is_foreign(compiler) else (_own(), *_OPTIONS))


def linkers(compiler: Compiler) -> str:
    """What has to be installed here for `find_linker` to find one."""
    return f"apt install g++-{compiler.triple.replace('_', '-')}, or pip install {_ZIG}"


def finish(linker: Linker, objects: Iterable[Path], path: Path) -> tuple[Path, ...]:
    """Link `path`, or keep the objects beside it with the script that does. Raises ExportError where that fails."""
    given = tuple(objects)
    if not linker.command:
        return _kept(given, path)
    _call([*linker.command, "-o", str(path), *map(str, given)])
    return (path,)


def _own() -> str:
    for name in _OWN:
        if found := shutil.which(name):
            return found
    raise ExportError("no C++ compiler is here to link model.so with", way_out="apt install g++, or clang.")


def _cross(compiler: Compiler) -> tuple[str, ...]:
    if found := shutil.which(f"{compiler.triple}-g++"):
        return (found, *_OPTIONS)
    if find_spec(_ZIG) is None:
        return ()
    wanted = f"{compiler.triple}.{compiler.glibc}" if compiler.glibc else compiler.triple
    return (sys.executable, "-m", _ZIG, "c++", "-target", wanted, *_OPTIONS)


def _kept(objects: Sequence[Path], path: Path) -> tuple[Path, ...]:
    """The objects, and the script that links them on the board."""
    kept = [path.with_name(f"{path.stem}-{index}.o") for index in range(len(objects))]
    for source, destination in zip(objects, kept, strict=True):
        shutil.copyfile(source, destination)
    script = path.with_name(BUILD)
    names = " ".join(file.name for file in kept)
    script.write_text(
        f"#!/bin/sh\n# Run on the board: it takes a C++ compiler (apt install g++).\n"
        f'set -e\ncd "$(dirname "$0")"\n"${{CXX:-g++}}" {" ".join(_OPTIONS)} -o {path.name} {names}\n',
        encoding="ascii",
    )
    return (*kept, script)


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ExportError(f"cannot be started: {error.strerror}", where=command[0]) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise ExportError(f"the library cannot be linked: {(said or ['no word'])[0][:300]}", where=command[0])
