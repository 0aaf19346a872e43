"""A job's shared steps: what it may leave, what it tells, and recovery only where there is data."""

from __future__ import annotations

from dataclasses import replace

from boards import board
from recovery import digits_batches, digits_program

from compressor.graph.contract import Context, Skip
from compressor.graph.dimensions.removal import Removal
from compressor.passes.prune import Prune
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import Job, analysed, prepared
from compressor.passes.sparsify import Sparsify

CHOOSER = Chooser("magnitude", "uniform", 0, 0.1, ())
BATCHES = digits_batches()
JOB = Job(prepared(digits_program()), 0.5, CHOOSER, BATCHES, Context(board(), calibration=BATCHES), between="30steps")


def test_what_may_be_left_is_a_share_of_the_macs() -> None:
    assert JOB.target == 0.5 * JOB.macs == 0.5 * Removal(JOB.dimensions, ()).macs()


def test_the_latest_analysis_is_kept() -> None:
    first, again = analysed(digits_program()), analysed(digits_program())
    assert first is again
    other = analysed(JOB.slice(Removal(JOB.dimensions, JOB.dimensions.dimensions[0].units[:8])))
    assert other is not first
    assert [len(d.units) for d in analysed(digits_program()).dimensions] == [len(d.units) for d in first.dimensions]


def test_without_training_data_it_learns_from_the_calibration_data() -> None:
    assert JOB.lessons is BATCHES
    other = replace(JOB.context, training=BATCHES[:2])
    assert replace(JOB, context=other).lessons == BATCHES[:2]


def test_without_data_or_budget_nothing_is_recovered() -> None:
    smaller = JOB.slice(Removal(JOB.dimensions, [u for d in JOB.dimensions.dimensions for u in d.units[::2]]))
    nothing = replace(JOB, context=replace(JOB.context, calibration=()))
    assert nothing.recover(smaller, "x") is smaller
    assert replace(JOB, between="none").recover(smaller, "x") is smaller
    assert JOB.recover(smaller, "x").hash() != smaller.hash()


def test_the_result_names_what_is_smaller_and_how_far_it_came() -> None:
    smaller = JOB.slice(Removal(JOB.dimensions, JOB.dimensions.dimensions[1].units[:16]))
    done = JOB.result(smaller, [Skip("a", "b")])
    assert "first.inner.0.weight" in done.changed
    assert "head.3.weight" not in done.changed
    assert Skip("a", "b") in done.skipped
    assert any("of its MACs could go, not 50%" in skip.reason for skip in done.skipped)
    assert done.settings == {}


def test_a_sparse_weight_that_is_filled_is_told() -> None:
    context = Context(board(), calibration=digits_batches())
    sparse = Sparsify("2of4").run(digits_program(), context).program
    assert any("prune first, then sparsify" in note for note in Prune(amount=0.5).run(sparse, context).notes)
    assert Prune(amount=0.5).run(digits_program(), context).notes == ()
