"""The groups of a model, as a table and as JSON."""

from __future__ import annotations

import io

from programs import conv, text
from rich.console import Console

from compressor.grouping import inspect_groups


def test_json_lists_every_unit_and_its_slices() -> None:
    found = inspect_groups(conv()).to_json()
    [dimension] = found["dimensions"]
    assert found["units"] == dimension["units"] == 8
    tensors = {(t["tensor"], t["axis"]): t["rows_a_unit"] for t in dimension["tensors"]}
    assert tensors[("conv.weight", 0)] == tensors[("head.weight", 1)] == tensors[("norm.running_mean", 0)] == 1
    assert dimension["parameters_a_unit"] == 27 + 2 + 5
    assert {"tensor": "conv.weight", "axis": 0, "rows": [3]} in dimension["slices"][3]


def test_the_table_says_what_freezes_the_rest() -> None:
    out = io.StringIO()
    inspect_groups(text()).render(Console(file=out, width=80))
    said = " ".join(out.getvalue().split())
    assert "frozen: is the model's output" in said
    assert "its rows are chosen by the input" in said
    assert "units in" in said
