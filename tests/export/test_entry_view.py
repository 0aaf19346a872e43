"""What a manifest lists as entries is taken for nothing that it is not."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.errors import LoadError
from compressor.export.entry_view import entries_of, golden_name

SOUND: dict[str, Any] = {
    "name": "half", "file": "model-half.onnx", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}],
}  # fmt: skip


def test_entries_by_name_with_their_golden_arrays() -> None:
    assert entries_of({}, []) == ()
    [view] = entries_of({"entries": [SOUND]}, ["model-half.onnx"])
    assert (view.name, view.file, view.inputs, view.outputs) == ("half", "model-half.onnx", ("x",), ("y",))
    assert view.golden() == {"x": "x", "y": golden_name("half", "y")} == {"x": "x", "y": "entries/half/y"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({}, "not a list"),
        ([None], "no name"),
        ([{**SOUND, "name": 3}], "no name"),
        ([SOUND, SOUND], "same name"),
        ([{**SOUND, "file": "../model.onnx"}], "names no model"),
        ([{**SOUND, "file": "model.so"}], "names no model"),
        ([{**SOUND, "outputs": []}], "names none"),
        ([{**SOUND, "outputs": [3]}], "list of named tensors"),
        ([{**SOUND, "inputs": "x"}], "list of named tensors"),
    ],
)
def test_what_is_no_list_of_entries_is_refused(entries: Any, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        entries_of({"entries": entries}, ["model-half.onnx", "model.so"])
