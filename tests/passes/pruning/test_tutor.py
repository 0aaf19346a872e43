"""What is learned on the way: the original's outputs, with noise where agreement would give no gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boards import board
from recovery import digits_batches, digits_program

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import Job, prepared
from compressor.passes.pruning.tutor import Tutor

BATCHES = digits_batches()
CHOOSER = Chooser("magnitude", "uniform", 0, 0.1, ())
JOB = Job(prepared(digits_program()), 0.5, CHOOSER, BATCHES, Context(board(), calibration=BATCHES))


def test_agreement_costs_nothing_and_noise_gives_a_gradient() -> None:
    batch = next(Tutor(JOB, "x").batches(0))
    outputs = [value.requires_grad_() for value in JOB.program.run(batch).values()]
    assert float(Tutor(JOB, "x").loss(outputs, batch, 0).detach()) == pytest.approx(0.0, abs=1e-6)
    loss = Tutor(JOB, "x", noise=0.01).loss(outputs, batch, 0)
    torch.autograd.backward(loss)
    assert 0 < float(loss.detach()) < 0.01
    assert outputs[0].grad is not None
    assert float(outputs[0].grad.abs().max()) > 0


def test_the_noise_and_the_batches_are_seeded_by_step() -> None:
    one, two = Tutor(JOB, "x", noise=0.1), Tutor(JOB, "x", noise=0.1)
    first, second = next(one.batches(7)), next(two.batches(7))
    assert torch.equal(first["x"], second["x"])
    outputs = list(JOB.program.run(first).values())
    assert float(one.loss(outputs, first, 7)) == float(two.loss(outputs, second, 7))
    assert float(one.loss(outputs, first, 7)) != float(one.loss(outputs, first, 8))


def test_without_data_it_says_the_way_out() -> None:
    with pytest.raises(RecipeError, match="how=gradual trains along the way and needs data") as error:
        Tutor(replace(JOB, context=Context(board())), "gradual")
    assert "one-shot" in error.value.way_out
