"""The runner of networks that TVM has compiled: a program in C++, built here and pushed with TVM's runtime libraries.

    runner_tvm/*.cpp, *.h  +  tvm_ffi's headers ─ g++ ─▶ runner      beside it: libtvm_runtime.so, libtvm_ffi.so

It needs neither Python nor NumPy on the board. For Arm boards a cross compiler builds it here. What was built is kept
in the cache folder under a digest of the sources, of the versions and of the compiler's name.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from compressor.devices.device import Description, Device
from compressor.devices.runners import Runner
from compressor.devices.tvm_runtime import package, runtime_libraries
from compressor.errors import DeviceError
from compressor.export.tvm_linking import cross_compiler, cross_compilers

__all__ = ["PROGRAM", "TVM_RUNNER", "build", "tvm_document"]

PROGRAM = "runner"
_SOURCES = Path(__file__).resolve().parent / "runner_tvm"
_EXTRA = 'pip install "edge-compressor[tvm]"'
_FLAGS = ("-std=c++17", "-O2", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed")
_SETTINGS = (
    "min_runs", "min_seconds", "min_rounds", "warmup_seconds", "first_round", "answers", "answer_seconds", "root",
    "count_runs", "uncounted_runs",
)  # fmt: skip
_HERE = platform.machine()
_OTHERS = (("Linux", "aarch64"),)  # built by a cross compiler, with the libraries of `devices setup qemu`
_GLIBC = "2.28"  # what apache-tvm's wheels ask for


def build(folder: Path, arch: str = _HERE) -> None:
    """Make `folder` with the program for Linux on that architecture, and the libraries that it needs beside it.

    Raises DeviceError where apache-tvm, its runtime for the board or a C++ compiler is missing, or the compiler fails.
    """
    kept = _kept(arch)
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            _compile(Path(made) / "done", arch)
            try:
                os.replace(Path(made) / "done", kept)
            except OSError:  # another process was first
                shutil.copytree(Path(made) / "done", folder)
                return
    shutil.copytree(kept, folder)


def tvm_document(document: Mapping[str, Any]) -> str:
    """Jobs and settings as the lines that the program reads (`runner_tvm/text.h`).

    A job is {"id", "model", "threads", "done": {"runs", "seconds", "rounds"}, "ties",
    "arrays": [[KEY, DTYPE, SHAPE, PATH, NAME]]}, where KEY is "input", "golden-input" or "golden-output"; of a decoder
    besides "decoder": {"batch", "read", "steps", "vocabulary", "output": of the scores, "slots": [[KIND, DTYPE, SHAPE,
    OUTPUT, NAME]]}.
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
            lines.append(f"{key} {dtype} {_shape(shape)} {path} {name}")
        if plan := job.get("decoder"):
            figures = (plan[key] for key in ("batch", "read", "steps", "vocabulary", "output"))
            lines.append(f"decode {' '.join(map(str, figures))}")
        for kind, dtype, shape, output, name in plan["slots"] if plan else ():
            lines.append(f"slot {kind} {dtype} {_shape(shape)} {output} {name}")
    return "".join(f"{line}\n" for line in lines)


def _shape(sizes: Sequence[int | str]) -> str:
    return ",".join(map(str, sizes)) or "-"


def _compile(folder: Path, arch: str) -> None:
    include, libraries = package("tvm_ffi") / "include", runtime_libraries(arch)
    if not libraries:
        raise DeviceError(
            f"TVM's runtime for {arch} is not here",
            where="model.so",
            way_out="`compress devices setup qemu` fetches it.",
        )
    folder.mkdir()
    version = metadata.version("apache-tvm")
    command = [
        *_compiler(arch), *_FLAGS, f'-DRUNNER_TVM_VERSION="{version}"', "-isystem", str(include),
        str(_SOURCES / "main.cpp"), "-o", str(folder / PROGRAM), *map(str, libraries),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        reason = errors[0] if errors else f"it ended with status {done.returncode}"
        raise DeviceError(f"the runner for TVM cannot be built: {reason}", where=command[0], way_out=_compilers(arch))
    for library in libraries:
        shutil.copy2(library, folder / library.name)


def _kept(arch: str) -> Path:
    import platformdirs

    cache = Path(os.environ.get("COMPRESS_CACHE") or platformdirs.user_cache_dir("edge-compressor"))
    return cache / "runners" / _digest(arch)[:24]


def _digest(arch: str = _HERE) -> str:
    try:
        versions = [metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")]
    except metadata.PackageNotFoundError as error:
        raise DeviceError("its runner needs apache-tvm here", where="model.so", way_out=_EXTRA) from error
    texts = [path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]*"))]
    about = " ".join([*versions, *_compiler(arch), *_FLAGS, arch])
    return hashlib.sha256(b"".join([about.encode(), *texts])).hexdigest()


def _compiler(arch: str) -> list[str]:
    if arch != _HERE:
        found = list(cross_compiler(f"{arch}-linux-gnu", _GLIBC))
    else:
        said = shlex.split(os.environ.get("CXX", ""))
        found = said or [name for name in ("g++", "clang++", "c++") if shutil.which(name)][:1]
    if not found or shutil.which(found[0]) is None:
        raise DeviceError(
            "no C++ compiler is here to build the runner for TVM", where="model.so", way_out=_compilers(arch)
        )
    return found


def _compilers(arch: str) -> str:
    if arch != _HERE:
        return f"{cross_compilers(f'{arch}-linux-gnu')}."
    return "apt install g++, or name another compiler of C++17 in CXX."


def _fits(device: Device, description: Description) -> Runner:
    """The runner for the board."""
    arch = description.arch
    own = (description.system, arch) == (platform.system(), _HERE) and description.timed
    if not own and (description.system, arch) not in _OTHERS:
        raise DeviceError(
            f"TVM's bundles run on Linux boards, {' or '.join(sorted({_HERE, *(a for _, a in _OTHERS)}))}: this is "
            f"{description.system} on {arch}{'' if description.timed else ', emulated'}",
            where=device.url, way_out="Compress with ONNX Runtime for it: leave --runtime out.",
        )  # fmt: skip
    return _runner(arch)


def _needs(_: Device) -> str:
    return "It needs a C++ runtime as new as this machine's, and the processor that the bundle was compiled for."


def _runner(arch: str) -> Runner:
    return Runner(
        "runner-tvm", partial(build, arch=arch), lambda _, there: [f"{there}/{PROGRAM}"], tvm_document,
        partial(_digest, arch), _needs, _fits,
    )  # fmt: skip


TVM_RUNNER = _runner(_HERE)
