"""Training is recovery's, and what keeps it from happening is told."""

from __future__ import annotations

from dataclasses import replace

import torch
from elastic_nets import context, digits_entries
from recovery import digits_batches

from compressor.passes.nesting.lesson import Lesson
from compressor.passes.nesting.train import train

LESSON = Lesson("6steps", "kl", names="0.5/0.25", how="nested")


def test_a_better_network_comes_back_with_what_made_it() -> None:
    program, entries = digits_entries()
    done = train(program, entries, (), LESSON, ("head.*",), context(program, digits_batches()))
    assert done.changed
    assert not any(name.startswith("head.") for name in done.changed)
    assert done.setting["losses"] == "kl"
    assert "all sizes, on average" in done.notes[-1]


def test_why_nothing_is_trained() -> None:
    program, entries = digits_entries()
    there = context(program, digits_batches())
    nothing = train(program, entries, (), LESSON, (), replace(there, training=()))
    assert nothing.program is program
    assert "no data to train on" in nothing.skipped[0].reason
    quiet = train(program, entries, (), replace(LESSON, train="none"), (), there)
    assert (quiet.program, quiet.skipped) == (program, ())
    worse = train(program, entries, (), replace(LESSON, rate=1e-12), (), there)
    assert all(
        torch.equal(value, worse.program.get(name)) for name, value in program.tensors().items() if value.dim() > 1
    )
