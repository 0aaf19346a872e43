"""A bundle's entries, as its manifest lists them: smaller models over the same weights, by name.

    entries: [{name, file, inputs, outputs, …}]        golden outputs: `entries/ENTRY/NAME` in golden.npz

A manifest may come from anywhere: nothing in it is taken for what it should be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.export.manifest import bad_manifest, named_tensors

__all__ = ["EntryView", "entries_of", "golden_name"]


@dataclass(frozen=True)
class EntryView:
    """One entry: its name, its file in the bundle, what goes in and comes out by name, and all that is said of it."""

    name: str
    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    said: Mapping[str, Any]

    def golden(self) -> dict[str, str]:
        """Where the golden arrays of its inputs and outputs are, by their names in the model."""
        return {**{name: name for name in self.inputs}, **{n: golden_name(self.name, n) for n in self.outputs}}


def golden_name(entry: str, output: str) -> str:
    """What an entry's golden output is called."""
    return f"entries/{entry}/{output}"


def entries_of(manifest: Mapping[str, Any], files: Collection[str]) -> tuple[EntryView, ...]:
    """What the manifest lists; empty where it lists none. Raises LoadError for what is no list of entries of these
    files."""
    listed = manifest.get("entries", [])
    if not isinstance(listed, list):
        raise bad_manifest("`entries` is not a list")
    found = tuple(_view(each, files) for each in listed)
    if len({each.name for each in found}) < len(found):
        raise bad_manifest("two of `entries` have the same name")
    return found


def _view(said: Any, files: Collection[str]) -> EntryView:
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise bad_manifest("one of `entries` has no name")
    where, file = f"entry {said['name'][:40]!r}", said.get("file")
    if not isinstance(file, str) or file not in files or not file.endswith(".onnx"):
        raise bad_manifest(f"{where} names no model of the bundle")
    inputs, outputs = (tuple(named_tensors(said.get(key), f"{where}: `{key}`")) for key in ("inputs", "outputs"))
    if not outputs:
        raise bad_manifest(f"{where}: `outputs` names none: there would be nothing to compare")
    return EntryView(said["name"], file, inputs, outputs, said)
