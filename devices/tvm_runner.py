"""The runner of networks that TVM has compiled: a program in C++, built here and pushed with TVM's runtime libraries.

    runner_tvm/*.cpp, *.h  +  tvm_ffi's headers ─ g++ ─▶ runner      beside it: libtvm_runtime.so, libtvm_ffi.so

It needs neither Python nor NumPy on the board. What was built is kept in the cache folder under a digest of the
sources, of the versions and of the compiler's name.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from compressor.devices.device import Description, Device
from compressor.devices.runners import Runner
from compressor.devices.tvm_runtime import package, runtime_libraries
from compressor.errors import DeviceError

__all__ = ["PROGRAM", "TVM_RUNNER", "build", "tvm_document"]

PROGRAM = "runner"
_SOURCES = Path(__file__).resolve().parent / "runner_tvm"
_EXTRA = 'pip install "edge-compressor[tvm]"'
_FLAGS = ("-std=c++17", "-O2", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed")
_SETTINGS = ("min_runs", "min_seconds", "min_rounds", "warmup_seconds", "first_round", "root")


def build(folder: Path) -> None:
    """Make `folder` with the program and the libraries that it needs beside it.

    Raises DeviceError where apache-tvm or a C++ compiler is missing, or the compiler fails.
    """
    kept = _kept()
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            _compile(Path(made) / "done")
            try:
                os.replace(Path(made) / "done", kept)
            except OSError:  # another process was first
                shutil.copytree(Path(made) / "done", folder)
                return
    shutil.copytree(kept, folder)


def tvm_document(document: Mapping[str, Any]) -> str:
    """Jobs and settings as the lines that the program reads (`runner_tvm/text.h`).

    A job is {"id", "model", "threads", "done": {"runs", "seconds", "rounds"}, "ties",
    "arrays": [[KEY, DTYPE, SHAPE, PATH, NAME]]}, where KEY is "input", "golden-input" or "golden-output".
    """
    lines = [f"{name} {document[name]}" for name in _SETTINGS if name in document]
    lines += ["samples 1"] if document.get("samples") else []
    for job in document["jobs"]:
        done = job.get("done", {})
        lines += [
            f"job {job['id']}", f"model {job['model']}", f"threads {job.get('threads', 0)}",
            f"ties {job.get('ties', 0.0)}",
            f"done {done.get('runs', 0)} {done.get('seconds', 0.0)} {done.get('rounds', 0)}",
        ]  # fmt: skip
        for key, dtype, shape, path, name in job["arrays"]:
            lines.append(f"{key} {dtype} {','.join(map(str, shape)) or '-'} {path} {name}")
    return "".join(f"{line}\n" for line in lines)


def _compile(folder: Path) -> None:
    folder.mkdir()
    include, libraries = package("tvm_ffi") / "include", runtime_libraries(platform.machine())
    version = metadata.version("apache-tvm")
    command = [
        *_compiler(), *_FLAGS, f'-DRUNNER_TVM_VERSION="{version}"', "-isystem", str(include),
        str(_SOURCES / "main.cpp"), "-o", str(folder / PROGRAM), *map(str, libraries),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        reason = errors[0] if errors else f"it ended with status {done.returncode}"
        raise DeviceError(f"the runner for TVM cannot be built: {reason}", where=command[0], way_out=_compilers())
    for library in libraries:
        shutil.copy2(library, folder / library.name)


def _kept() -> Path:
    import platformdirs

    cache = Path(os.environ.get("COMPRESS_CACHE") or platformdirs.user_cache_dir("edge-compressor"))
    return cache / "runners" / _digest()[:24]


def _digest() -> str:
    try:
        versions = [metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")]
    except metadata.PackageNotFoundError as error:
        raise DeviceError("its runner needs apache-tvm here", where="model.so", way_out=_EXTRA) from error
    texts = [path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]*"))]
    about = " ".join([*versions, *_compiler(), *_FLAGS, platform.machine()])
    return hashlib.sha256(b"".join([about.encode(), *texts])).hexdigest()


def _compiler() -> list[str]:
    said = shlex.split(os.environ.get("CXX", ""))
    found = said or [name for name in ("g++", "clang++", "c++") if shutil.which(name)][:1]
    if not found or shutil.which(found[0]) is None:
        raise DeviceError("no C++ compiler is here to build the runner for TVM", where="model.so", way_out=_compilers())
    return found


def _compilers() -> str:
    return "apt install g++, or name another compiler of C++17 in CXX."


def _fits(device: Device, description: Description) -> None:
    if not description.timed or (description.system, description.arch) != (platform.system(), platform.machine()):
        raise DeviceError(
            f"TVM's bundles run on {platform.system()} boards of this machine's kind so far ({platform.machine()}): "
            f"this is {description.system} on {description.arch}{'' if description.timed else ', emulated'}",
            where=device.url, way_out="Compress with ONNX Runtime for it: leave --runtime out.",
        )  # fmt: skip


def _needs(_: Device) -> str:
    return "It needs a C++ runtime as new as this machine's, and the processor that the bundle was compiled for."


TVM_RUNNER = Runner(
    "runner-tvm", build, lambda _, there: [f"{there}/{PROGRAM}"], tvm_document, _digest, _needs, _fits
)  # fmt: skip
