"""TVM's runtime as a board needs it beside a compiled network: two shared libraries, out of the installed wheels.

libtvm_runtime.so (apache-tvm), libtvm_ffi.so (apache-tvm-ffi)      this machine's own are installed;
                                                                    aarch64's come with `devices setup qemu`
"""

from __future__ import annotations

import platform
from importlib import util
from pathlib import Path

from compressor.devices.emulation.root import find_root
from compressor.devices.emulation.tvm import TVM_SITE
from compressor.errors import DeviceError

__all__ = ["package", "runtime_bytes", "runtime_libraries"]

_EMULATED = "aarch64"
_EXTRA = 'pip install "edge-compressor[tvm]"'
_RUNTIME, _FFI = "libtvm_runtime.so", "libtvm_ffi.so"


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported. Raises DeviceError where it is missing."""
    found = util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise DeviceError(f"its runner needs {name} here", where="model.so", way_out=_EXTRA)
    return Path(next(iter(found.submodule_search_locations)))


def runtime_libraries(arch: str) -> tuple[Path, ...]:
    """Those for a Linux board of that architecture; none where they are not here.

    Raises DeviceError where TVM is not installed, or what is set up for emulation is broken.
    """
    if arch == platform.machine():
        return package("tvm") / "lib" / _RUNTIME, package("tvm_ffi") / "lib" / _FFI
    root = find_root() if arch == _EMULATED else None
    site = None if root is None else root.path / TVM_SITE
    found = () if site is None else (site / _RUNTIME, site / "tvm_ffi" / "lib" / _FFI)
    return found if all(path.is_file() for path in found) else ()


def runtime_bytes(arch: str) -> int | None:
    """What both take on disk; None where they are not here."""
    try:
        libraries = runtime_libraries(arch)
    except DeviceError:
        return None
    return sum(path.stat().st_size for path in libraries) or None
