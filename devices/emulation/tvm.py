"""TVM's runtime for the emulated root, out of PyPI's aarch64 wheels: what runs a compiled network, and no compiler.

<root>/tvm/     tvm_ffi and typing_extensions, as Python imports them, and libtvm_runtime.so

It comes with set-up where apache-tvm is installed here, in the same versions. Of apache-tvm's wheel (100 MB) one
library of 3 MB stays.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from compressor.devices.emulation.packages import step
from compressor.errors import DeviceError

__all__ = ["TVM_SITE", "fetch_tvm", "tvm_wheels"]

TVM_SITE = "tvm"
_COMPILER, _RUNNING = "apache-tvm", ("apache-tvm-ffi", "typing_extensions")
_RUNTIME = "libtvm_runtime.so"


def tvm_wheels() -> dict[str, str]:
    """Versions by name of what is fetched: those that are installed here; none without apache-tvm."""
    try:
        return {name: metadata.version(name) for name in (_COMPILER, *_RUNNING)}
    except metadata.PackageNotFoundError:
        return {}


def fetch_tvm(site: Path, wheels: Mapping[str, str], pip: Sequence[str]) -> None:
    """Fill `site`. `pip` are its options for the platform. Raises DeviceError in pip's words."""
    exact = {name: f"{name}=={wheels[name]}" for name in (_COMPILER, *_RUNNING)}
    _pip(["install", "--no-compile", "--target", str(site), *pip, *(exact[name] for name in _RUNNING)])
    with tempfile.TemporaryDirectory(dir=site.parent) as folder:
        _pip(["download", "--dest", folder, *pip, exact[_COMPILER]])
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                (site / _RUNTIME).write_bytes(archive.read(f"tvm/lib/{_RUNTIME}"))
    if not (site / _RUNTIME).is_file():
        raise DeviceError(f"pip fetched no wheel of {_COMPILER}", where="pip")


def _pip(words: Sequence[str]) -> None:
    command, *rest = words
    step(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-deps", *rest],
        "Look at pip's index; `python -m ensurepip` where pip itself is missing.",
    )
