"""Debian's packages, fetched and unpacked into folders of ours: nothing is installed, and no root rights are needed.

apt is given a configuration of its own: its state in our folder, arm64 beside this machine's architecture.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from compressor.devices.processes import Lines, execute
from compressor.devices.programs import command
from compressor.errors import DeviceError

__all__ = ["Apt", "step"]

_TIMEOUT = 600.0  # seconds for any one step
_KEPT = ("-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin")
"""Containers are told not to keep what apt makes of its lists, so that each call makes it again: two seconds."""
_NO_OTHERS = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


class Apt:
    """apt with its state in a folder of ours. Its methods raise DeviceError in apt's own words."""

    def __init__(self, folder: Path, sources: Path | None) -> None:
        self.folder = folder
        self.apt, self.dpkg = command("apt-get"), command("dpkg")
        native = step([*self.dpkg, "--print-architecture"], "").strip()
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

    def needs(self, package: str) -> set[str]:
        """All packages that one of this machine's architecture depends on, directly or not."""
        options = [f"--no-{name}" for name in _NO_OTHERS]
        text = self._run(["apt-cache", "depends", "--recurse", *options, package])
        return set(re.findall(r"^[a-z0-9][a-z0-9.+-]*$", text, re.MULTILINE)) - {package}

    def unpack(self, packages: Collection[str], destination: Path) -> None:
        """The packages' files, under `destination`."""
        downloads = Path(tempfile.mkdtemp(dir=self.folder))
        self._run([*self.apt, "download", "-q", *packages], cwd=downloads)
        for package in sorted(downloads.glob("*.deb")):
            step([*self.dpkg, "-x", str(package), str(destination)], "Look at the room on the disk.")

    def _run(self, argv: Sequence[str], *, checked: bool = True, cwd: Path | None = None) -> str:
        moved = [*(["env", "-C", str(cwd)] if cwd else []), *argv, *_KEPT]
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        return step(moved, "Look at apt's sources.", environment=environment, checked=checked)


def step(argv: Sequence[str], way_out: str, *, environment: dict[str, str] | None = None, checked: bool = True) -> str:
    """Run a step of a set-up; its stdout. Raises DeviceError with its last words where it fails and is `checked`."""
    lines = Lines()
    ended = execute(argv, timeout=_TIMEOUT, environment=environment, on_stdout=lines.feed, where=argv[0])
    if ended.status and checked:
        said = [line for line in ended.stderr.splitlines() if line.startswith(("E:", "ERROR"))] or [
            ended.stderr.strip()
        ]
        raise DeviceError(said[-1][-500:], where=" ".join(argv[:4]), way_out=way_out)
    return lines.text
