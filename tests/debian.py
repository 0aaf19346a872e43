"""Programs that tests need and this machine may not have: Debian's packages, unpacked and never installed.

A program that is installed is used as it is. Otherwise its packages are fetched with `apt-get download` and unpacked
with `dpkg -x` into a temporary folder; without those tools, or without a network, the test skips with the reason.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

__all__ = ["libraries", "program", "unpacked"]


def program(name: str, packages: Iterable[str]) -> Path:
    """Where a program is: installed, or in its unpacked packages."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))  # sshd is not on a user's PATH
    if found := shutil.which(name, path=path):
        return Path(found)
    root = unpacked(*packages)
    found = next((str(each) for folder in ("usr/bin", "usr/sbin") if (each := root / folder / name).exists()), None)
    if found is None:
        pytest.skip(f"{' '.join(packages)} hold no {name}")
    return Path(found)


def libraries(root: Path) -> str:
    """LD_LIBRARY_PATH for what was unpacked into `root`."""
    return os.pathsep.join(sorted({str(file.parent) for file in root.rglob("*.so*")}))


@functools.cache
def unpacked(*packages: str) -> Path:
    """A folder with the packages' files in it, kept while the tests run."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip(f"{' '.join(packages)}: not installed, and no apt-get and dpkg to unpack them with")
    holder = tempfile.TemporaryDirectory(prefix="compress-tests-")
    _HOLDERS.append(holder)
    folder = Path(holder.name)
    try:
        done = subprocess.run(
            ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{' '.join(packages)}: apt-get download took more than 120 s")
    if done.returncode:
        pytest.skip(f"{' '.join(packages)}: apt-get download failed: {done.stderr.strip().splitlines()[-1]}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True, timeout=120)
    return folder / "root"


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []
