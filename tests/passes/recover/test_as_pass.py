"""Recover as a pass: what it declines, what it says, and that its settings do the same again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boards import board
from recovery import Listener, accuracy, damaged, digits_batches, digits_program

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes import find_pass
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.recover import Recover


@pytest.fixture(scope="module")
def teacher() -> Program:
    return digits_program()


@pytest.fixture(scope="module")
def context(teacher: Program) -> Context:
    batches = digits_batches()
    return Context(board(), calibration=batches, training=batches, teacher=teacher, synthetic=False)


def test_it_is_registered_under_both_names() -> None:
    assert find_pass("recover") is find_pass("distill") is Recover
    assert Recover.trains
    assert not Recover.structural


def test_it_recovers_and_its_settings_do_the_same_again(teacher: Program, context: Context) -> None:
    student, listener = damaged(teacher), Listener()
    result = Recover("20steps").run(student, replace(context, progress=listener))
    assert accuracy(result.program) > 0.9
    assert "first.inner.0.weight" in result.changed
    assert "held-out loss" in listener.said[-1]
    assert result.settings["program"] == {"budget": "20steps", "losses": "output+hidden"}
    again = Recover(sites=result.settings).run(student, context)
    assert again.program.hash() == result.program.hash()


def test_options_that_are_not_defaults_are_settings_too(teacher: Program, context: Context) -> None:
    student = damaged(teacher)
    result = Recover("4steps", losses="kl", rate=0.002, batch=16, zeros="keep").run(student, context)
    assert result.settings["program"] == {
        "budget": "4steps", "losses": "kl", "rate": 0.002, "batch": 16, "zeros": "keep",
    }  # fmt: skip
    again = Recover("300steps", sites=result.settings).run(student, context)
    assert again.program.hash() == result.program.hash()


def test_without_data_it_declines(teacher: Program, context: Context) -> None:
    student = damaged(teacher)
    result = Recover().run(student, replace(context, training=()))
    assert result.program is student
    assert "no data to train on" in result.skipped[0].reason


def test_without_anything_to_recover_it_declines(teacher: Program, context: Context) -> None:
    assert "still the original" in Recover().run(teacher, context).skipped[0].reason
    student = damaged(teacher)
    assert "no original" in Recover().run(student, replace(context, teacher=None)).skipped[0].reason


def test_integers_are_declined(teacher: Program, context: Context) -> None:
    folded = Fold().run(teacher, context).program
    quantized = Quantize().run(folded, context).program
    assert "before quantizing" in Recover().run(quantized, context).skipped[0].reason


def test_a_recovery_that_does_not_help_is_told_and_changes_nothing(teacher: Program, context: Context) -> None:
    student = Fold().run(teacher, context).program  # computes what the original does
    result = Recover("2steps", rate=0.5).run(student, context)
    assert result.program is student
    assert "weights stay as they were" in result.skipped[0].reason


def test_zeros_are_kept_on_request(teacher: Program, context: Context) -> None:
    student = damaged(teacher)
    kept = Recover("3steps", zeros="keep").run(student, context).program
    name = "first.inner.0.weight"
    assert torch.equal(kept.get(name) == 0, student.get(name) == 0)


@pytest.mark.parametrize(
    "options",
    [{"budget": "soon"}, {"losses": "kld"}, {"rate": -1.0}, {"batch": 0}, {"temperature": 0.0},
     {"sites": {"program": {"marks": "5 3"}}}, {"sites": {"program": {"bugdet": "3steps"}}},
     {"sites": {"program": {"budget": "soon"}}}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recover(**options)  # type: ignore[arg-type]
