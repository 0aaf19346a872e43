"""Learned masks: the exact shape that was asked for, a constraint that is met, and a fold that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boards import board
from exactness import analysed
from recovery import Listener, Stopping, accuracy, digits_batches, digits_program
from tiny import TinyGpt, text_batches, tiny_gpt

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.prune import Prune
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import Job, prepared
from compressor.passes.pruning.masks import Lesson, masked_axes
from compressor.passes.pruning.tutor import Tutor

BATCHES = digits_batches()
CONTEXT = Context(board(), latency=Roofline(), calibration=BATCHES, training=BATCHES, synthetic=False)
MASKS = Prune(amount=0.5, how="masks", steps=100, between="none")


def _shapes(program: object) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in program.tensors().items()}  # type: ignore[attr-defined]


def test_the_shape_is_exactly_what_one_cut_would_give() -> None:
    listener, program = Listener(), digits_program()
    done = MASKS.run(program, replace(CONTEXT, progress=listener))
    assert _shapes(done.program) == _shapes(Prune(amount=0.5).run(program, CONTEXT).program)
    assert done.settings == {}
    losses = [figures["loss"] for _, figures in listener.told]
    assert losses[-1] < max(losses), losses
    assert accuracy(done.program) > 0.9


def test_a_language_model_hits_its_shape() -> None:
    program, batches = tiny_gpt(), text_batches(4)
    context = replace(CONTEXT, calibration=batches, training=batches)
    done = replace(MASKS, steps=10, multiple=4).run(program, context)
    once = Prune(amount=0.5, multiple=4, reconstruct=False).run(program, context)
    assert _shapes(done.program) == _shapes(once.program)


def test_folding_and_cutting_changes_nothing() -> None:
    job = Job(prepared(tiny_gpt()), 0.5, Chooser("random", "uniform", 4, 0.1, ()), text_batches(4), CONTEXT, steps=8)
    ranked = job.chooser.ranked(job.dimensions, job.batches, CONTEXT)
    allocation, _ = job.chooser.allocation(ranked, job.target, CONTEXT)
    job = replace(job, context=replace(CONTEXT, training=text_batches(4)))
    lesson = Lesson(job, Tutor(job, "masks"), allocation)
    for share in (0.0, 0.5, 1.0):
        held = lesson.expected(lesson.held(share * lesson.shares))
        torch.testing.assert_close(held, share * lesson.shares, atol=2e-3, rtol=0)
    lesson.run(job.resume("masks"))
    gone = lesson.chosen()
    assert [len(gone)] == [len(allocation.removal().units)]
    z = lesson.final()
    assert z[[lesson.masked.units.index(unit) for unit in gone]].tolist() == [0.0] * len(gone)
    batch = job.batches[0]
    [wanted] = lesson.masked.outputs(batch, z)
    [got] = lesson.sliced().run(batch).values()
    assert torch.allclose(got, wanted, atol=1e-4)


def test_masks_scale_what_reads_and_queries_and_keys_too() -> None:
    dimensions = analysed(TinyGpt(), (torch.zeros(2, 8, dtype=torch.int64),))
    chosen = {d.name: masked_axes(dimensions, d.units) for d in dimensions.dimensions}
    assert chosen["blocks.0.mlp.0"] == [("blocks.0.mlp.2.weight", 1)]
    assert ("blocks.0.q.weight", 0) in chosen["blocks.0.q/2"]
    assert ("blocks.0.k.bias", 0) in chosen["blocks.0.q/2"]
    assert chosen["blocks.0.v/2"] == [("blocks.0.out.weight", 1)]


def test_the_seed_decides() -> None:
    short = replace(MASKS, steps=5)
    hashes = [short.run(digits_program(), replace(CONTEXT, seed=seed)).program.hash() for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_data_are_needed() -> None:
    with pytest.raises(RecipeError, match="how=masks trains along the way and needs data"):
        MASKS.run(digits_program(), replace(CONTEXT, calibration=(), training=()))


def test_an_interrupted_training_goes_on_where_it_was(tmp_path: Path) -> None:
    short = replace(MASKS, steps=20)
    [whole, *_] = [short.run(digits_program(), replace(CONTEXT, checkpoint=tmp_path / "whole.pt")).program.hash()]
    context = replace(CONTEXT, checkpoint=tmp_path / "cut.pt", progress=Stopping(after=7))
    with pytest.raises(KeyboardInterrupt):
        short.run(digits_program(), context)
    listener = Listener()
    done = short.run(digits_program(), replace(context, progress=listener))
    assert done.program.hash() == whole
    assert listener.told[0][0] > 7 / 20
