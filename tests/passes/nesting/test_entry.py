"""Entries are the programs that cutting and leaving out make, and know which rows they have."""

from __future__ import annotations

import torch
from elastic_nets import digits_entries
from recovery import accuracy, digits_batches, vit

from compressor.graph.contract import Context
from compressor.graph.dimensions.groups import analyse
from compressor.graph.entries import of_rows
from compressor.passes.nesting.choice import Choice
from compressor.passes.nesting.entry import Maker, calibrated
from compressor.passes.pruning.choose import Chooser
from compressor.passes.recover.norms import statistics_of
from compressor.targets import load_target


def maker() -> Maker:
    chooser = Chooser("magnitude", "uniform", 1, 0.0, ())
    return Maker(chooser.ranked(analyse(vit(4)), (), Context(load_target("x86-64"))))


def test_its_tensors_are_the_rows_that_it_names() -> None:
    made = maker()
    entry = made.make(Choice({"1.0.ffn.1": 0.5, "1.1.ffn.1": 0.25}, frozenset({"1.3"})))
    assert entry.program.get("1.0.ffn.1.weight").shape == (12, 12)
    assert entry.program.get("1.1.ffn.3.weight").shape == (12, 6)
    assert not any(name.startswith("1.3.") for name in entry.rows)
    assert set(entry.rows) == set(entry.program.tensors())
    for name, rows in entry.rows.items():
        assert torch.equal(of_rows(made.program.get(name), rows), entry.program.get(name))
    [value] = entry.program.run().values()
    assert value.shape == (2, 6, 7)


def test_smaller_entries_are_within_larger_ones() -> None:
    made = maker()
    large, small = (made.make(Choice({"1.0.ffn.1": share})).rows["1.0.ffn.1.weight"][0] for share in (0.75, 0.25))
    assert small is not None
    assert large is not None
    assert set(small) < set(large)


def test_a_block_is_left_out_where_widths_differ_as_where_they_do_not() -> None:
    """Blocks of different widths are no longer alike, and would not be found."""
    made, widths = maker(), {"1.0.ffn.1": 0.5, "1.2.ffn.1": 0.25}
    entry = made.make(Choice(widths, frozenset({"1.1", "1.2"})))
    assert {name.split(".")[1] for name in entry.rows if name.startswith("1.")} == {"0", "3"}


def test_statistics_are_an_entry_s_own() -> None:
    program, (half, _) = digits_entries()
    names = statistics_of(half.program)
    assert names
    assert not set(names) & set(half.rows)
    sliced = {name: program.get(name)[: len(half.program.get(name))] for name in names}
    assert any(not torch.allclose(value, half.program.get(name)) for name, value in sliced.items())
    again = calibrated(half, program, digits_batches())
    assert accuracy(again.program) == accuracy(half.program)
