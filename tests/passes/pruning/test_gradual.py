"""Continuous pruning: the target met a rung at a time, widths as the network wants them, accuracy kept on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from recovery import Listener, accuracy, digits_batches, digits_program
from tiny import next_byte_loss, text_batches, tiny_gpt

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.prune import Prune
from compressor.passes.pruning import gradual as module
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.gradual import Shrinking
from compressor.passes.pruning.job import Job, prepared
from compressor.passes.pruning.tutor import Tutor

BATCHES = digits_batches()
CONTEXT = Context(board(), latency=Roofline(), calibration=BATCHES, training=BATCHES, synthetic=False)
GRADUAL = Prune(amount=0.5, how="gradual", multiple=4, between="none")


def test_the_target_is_met_in_small_steps_and_the_accuracy_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, calls = Listener(), []
    real = module.analyse
    monkeypatch.setattr(module, "analyse", lambda program: calls.append(1) or real(program))
    program = digits_program()
    done = GRADUAL.run(program, replace(CONTEXT, progress=listener))
    macs = [Roofline().predict(p, CONTEXT.target).macs for p in (program, done.program)]
    assert 0.4 * macs[0] < macs[1] <= 0.5 * macs[0]
    assert accuracy(done.program) > accuracy(program) - 0.03
    left = [figures["MACs"] for _, figures in listener.told]
    assert left == sorted(left, reverse=True)
    assert len(left) >= 8, "one rung at a time"
    assert len(calls) <= 5, "analyses are few"
    assert done.settings == {}


def test_a_language_models_widths_become_uneven() -> None:
    program, batches = tiny_gpt(), text_batches(4)
    context = replace(CONTEXT, calibration=batches, training=batches)
    done = replace(GRADUAL, amount=0.25, samples=32).run(program, context)
    hidden = [done.program.get(f"blocks.{block}.mlp.0.weight").shape[0] for block in (0, 1)]
    inner = [done.program.get(f"blocks.{block}.q.weight").shape[0] for block in (0, 1)]
    macs = [Roofline().predict(p, CONTEXT.target).macs for p in (program, done.program)]
    assert macs[1] <= 0.75 * macs[0]
    assert len({*hidden, *(4 * size for size in inner)}) > 1
    assert next_byte_loss(done.program) < 1.1 * next_byte_loss(program)


def test_an_interrupted_run_goes_on_after_its_last_cut(tmp_path: Path) -> None:
    class Stopped(Listener):
        def say(self, text: str) -> None:
            super().say(text)
            if sum("scoring" in each for each in self.said) == 2:
                raise KeyboardInterrupt

    program = digits_program()
    prune = replace(GRADUAL, amount=0.3, samples=32)
    whole = prune.run(program, CONTEXT).program.hash()
    context = replace(CONTEXT, checkpoint=tmp_path / "work" / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        prune.run(program, replace(context, progress=Stopped()))
    listener = Listener()
    assert prune.run(program, replace(context, progress=listener)).program.hash() == whole
    assert listener.told[0][0] > 0.5


def test_the_weakest_by_what_it_saves_goes_first_and_stays_zero() -> None:
    job = Job(prepared(digits_program()), 0.5, Chooser("magnitude", "uniform", 4, 0.1, ()), BATCHES, CONTEXT)
    tutor = Tutor(job, "gradual")
    phase = Shrinking(job, tutor, job.chooser.ranked(job.dimensions, BATCHES, CONTEXT), 0)
    inner = next(d for d in job.dimensions.dimensions if d.name == "second.inner.0")
    phase.saliency.fill_(1.0)
    for unit in inner.units[:4]:
        phase.saliency[phase.number[unit]] = 0.0
    units = phase.weakest()
    assert sorted(units) == sorted(inner.units[:4])
    phase._drop(units)
    for batch, _ in zip(tutor.batches(0), range(3), strict=False):
        phase._learn(batch)
    assert bool((phase.masked.trainee.shared["second.inner.0.weight"][:4] == 0).all())


def test_data_are_needed() -> None:
    with pytest.raises(RecipeError, match="needs data"):
        GRADUAL.run(digits_program(), replace(CONTEXT, calibration=(), training=()))
