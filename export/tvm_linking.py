"""Objects that TVM has compiled become one shared library: here, or by a script on the board.

host, and boards of this machine's kind   g++, clang++ or c++
other Linux boards                        TRIPLE-g++ (Debian's g++-aarch64-linux-gnu), else PyPI's ziglang
none of these                             model-0.o …, and build-model.sh, which links them where it is run
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from compressor.errors import ExportError
from compressor.export.tvm_boards import is_foreign
from compressor.targets.target import Compiler

__all__ = ["BUILD", "Linker", "cross_compiler", "cross_compilers", "find_linker", "finish"]

BUILD = "build-model.sh"
_OWN = ("g++", "clang++", "c++")
_OPTIONS = ("-shared", "-fPIC", "-Wl,--strip-all")
_BIONIC = ("-nostdlib", "-Wl,-z,max-page-size=16384", "-Wl,--no-as-needed")  # Android 15 has pages of 16 KB
_BIONIC_LIBRARIES = ("libc.so", "libm.so")
_ANDROID, _GNU, _WASM = "-android", "-gnu", "wasm32"
_NATIVE_SCRIPT = """#!/bin/sh
# Run on the board: it takes a C++ compiler (apt install g++).
set -e
cd "$(dirname "$0")"
"${{CXX:-g++}}" {options} -o {name} {objects}
"""
_WASM_SCRIPT = """#!/bin/sh
# It takes emscripten's emcc, apache-tvm, and TVM's source in TVM_HOME, where `make -C "$TVM_HOME/web"` was run.
set -e
cd "$(dirname "$0")"
python3 -c 'import sys; from tvm.support import emcc; emcc.create_tvmjs_wasm("model.wasm", sys.argv[1:])' {objects}
"""
_ZIG = "ziglang"


@dataclass(frozen=True)
class Linker:
    """A compiler's command line that objects are appended to; empty where none is here. `stubs` are names of shared
    libraries that are on the board alone, whose names the library gets; `script` is what links elsewhere."""

    command: tuple[str, ...]
    stubs: tuple[str, ...] = ()
    script: str = _NATIVE_SCRIPT


def find_linker(compiler: Compiler) -> Linker:
    """What links for the board here. Raises ExportError where this machine's own compiler would, and there is none."""
    if not is_foreign(compiler):
        return Linker((_own(), *_OPTIONS))
    if compiler.triple.startswith(_WASM):
        return Linker((), script=_WASM_SCRIPT)
    found = cross_compiler(compiler.triple, compiler.glibc)
    if not found:
        return Linker(())
    bionic = _ANDROID in compiler.triple
    return Linker((*found, *_OPTIONS, *_BIONIC * bionic), _BIONIC_LIBRARIES * bionic)


def cross_compiler(triple: str, glibc: str) -> tuple[str, ...]:
    """A C++ compiler for another kind of Linux board, whose programs load with that C library; () where none is.

    For Android it is one that knows the processor, and nothing of Android.
    """
    triple = triple.replace(_ANDROID, _GNU)
    if found := shutil.which(f"{triple}-g++"):
        return (found,)
    if find_spec(_ZIG) is None:
        return ()
    return (sys.executable, "-m", _ZIG, "c++", "-target", f"{triple}.{glibc}" if glibc else triple)


def cross_compilers(triple: str) -> str:
    """What has to be installed for a library to be linked."""
    if triple.startswith(_WASM):
        return "emscripten, with TVM's source"
    return f"apt install g++-{triple.replace(_ANDROID, _GNU).replace('_', '-')}, or pip install {_ZIG}"


def finish(linker: Linker, objects: Iterable[Path], path: Path) -> tuple[Path, ...]:
    """Link `path`, or keep the objects beside it with the script that does. Raises ExportError where that fails."""
    given = tuple(objects)
    if not linker.command:
        return _kept(given, path, linker.script)
    with tempfile.TemporaryDirectory() as folder:
        stubs = [str(Path(folder) / name) for name in linker.stubs]
        for stub, name in zip(stubs, linker.stubs, strict=True):
            _call([*linker.command, f"-Wl,-soname,{name}", "-x", "c", os.devnull, "-o", stub])
        _call([*linker.command, "-o", str(path), *map(str, given), *stubs])
    return (path,)


def _own() -> str:
    for name in _OWN:
        if found := shutil.which(name):
            return found
    raise ExportError("no C++ compiler is here to link with", way_out="apt install g++, or clang.")


def _kept(objects: Sequence[Path], path: Path, template: str) -> tuple[Path, ...]:
    """The objects, and the script that links them on the board."""
    kept = [path.with_name(f"{path.stem}-{index}.o") for index in range(len(objects))]
    for source, destination in zip(objects, kept, strict=True):
        shutil.copyfile(source, destination)
    script, names = path.with_name(BUILD), " ".join(file.name for file in kept)
    text = template.format(options=" ".join(_OPTIONS), name=path.name, objects=names)
    script.write_text(text, encoding="ascii")
    return (*kept, script)


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ExportError(f"cannot be started: {error.strerror}", where=command[0]) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise ExportError(f"the library cannot be linked: {(said or ['no word'])[0][:300]}", where=command[0])
