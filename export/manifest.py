"""A bundle's manifest, which may come from anywhere: nothing in it is taken for what it should be.

manifest.json: {format: 1, files: {name: {sha256, bytes}}, inputs: [{name, …}], outputs: […], tolerance, …}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from compressor.errors import LoadError

__all__ = ["bad_manifest", "files_of", "named_tensors", "read_manifest", "tolerance_of"]

_LIMIT = 2**24  # bytes


def read_manifest(path: Path) -> dict[str, Any]:
    """That of the bundle in a folder. Raises LoadError where there is none that this version knows."""
    file = path / "manifest.json"
    if not path.is_dir() or not file.is_file() or file.is_symlink():
        raise LoadError("no bundle: it has no manifest.json", where=str(path), way_out="Give the folder it is in.")
    if file.stat().st_size > _LIMIT:
        raise bad_manifest("it is larger than any manifest")
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise bad_manifest(f"not JSON: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise bad_manifest("not an object")
    if data.get("format") != 1:
        raise bad_manifest(f"format {str(data.get('format'))[:40]!r} is not known to this version")
    return data


def files_of(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Name → (sha256, bytes). Raises LoadError for names that are none of files in the bundle."""
    entries = manifest.get("files")
    if not isinstance(entries, dict):
        raise bad_manifest("`files` is not an object")
    found = {}
    for name, entry in entries.items():
        path = PurePosixPath(name)
        inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
        if not inside or "\0" in name or ":" in name or str(path) != name:
            raise bad_manifest(f"{name[:80]!r} is no name of a file in a bundle")
        digest, size = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not isinstance(digest, str) or type(size) is not int or size < 0:
            raise bad_manifest(f"the entry of {name[:80]!r} has no sha256 and bytes")
        found[name] = (digest, size)
    return found


def tolerance_of(manifest: Mapping[str, Any]) -> float:
    """What outputs may be off by. Raises LoadError for what is no number from 0 to 1."""
    value = manifest.get("tolerance", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise bad_manifest("`tolerance` is not a number from 0 to 1")
    return float(value)


def named_tensors(listed: Any, where: str) -> Iterator[str]:
    """The names in a list of tensors. Raises LoadError, saying `where`, for what is none."""
    for each in listed if isinstance(listed, list) else [None]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise bad_manifest(f"{where} is not a list of named tensors")
        yield each["name"]


def bad_manifest(reason: str) -> LoadError:
    """The error to raise."""
    return LoadError(f"the manifest is not one: {reason}", where="manifest.json", way_out="Build the bundle again.")
