"""One cut: its settings cut the same again, alone or through every kind of option."""

from __future__ import annotations

import pytest
from boards import board
from recovery import digits_batches, digits_program

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import Job, prepared
from compressor.passes.pruning.once import as_told, eighths, one_shot

CONTEXT = Context(board(), latency=Roofline())
JOB = Job(prepared(digits_program()), 0.5, Chooser("magnitude", "uniform", 0, 0.1, ()), digits_batches(), CONTEXT)


def test_one_cut_meets_the_target_and_can_be_told_again() -> None:
    done = one_shot(JOB)
    assert Roofline().predict(done.program, CONTEXT.target).macs <= JOB.target * 1.01
    again = as_told(JOB, done.settings)
    assert again.program.hash() == done.program.hash()
    assert again.settings == done.settings


def test_every_eighth_costs_more_damage_for_fewer_bytes() -> None:
    options = list(eighths(JOB))
    for site in {option.site for option in options}:
        own = [option for option in options if option.site == site]
        assert [option.bytes for option in own] == sorted((option.bytes for option in own), reverse=True)
        assert [option.damage for option in own] == sorted(option.damage or 0.0 for option in own)


def test_settings_that_leave_nothing() -> None:
    [first, *_] = JOB.dimensions.dimensions
    with pytest.raises(RecipeError, match="leave an axis empty"):
        as_told(JOB, {first.name: {"remove": f"0-{len(first.units) - 1}"}})
