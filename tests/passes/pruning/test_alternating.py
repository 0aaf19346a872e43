"""Alternating slimming: residual widths first, then inner ones, each distilled."""

from __future__ import annotations

from dataclasses import replace

import torch
from boards import board
from exactness import analysed
from recovery import Listener, accuracy, digits_batches, digits_program
from tiny import TinyGpt, text_batches, tiny_gpt

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.dimensions.groups import analyse
from compressor.passes.prune import Prune
from compressor.passes.pruning.alternating import alternating, residual
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import Job, prepared

BATCHES = digits_batches()
CONTEXT = Context(board(), latency=Roofline(), calibration=BATCHES, training=BATCHES, synthetic=False)


def test_residual_widths_are_told_from_inner_ones() -> None:
    assert residual(analyse(prepared(digits_program()))) == {"stem.0", "pointwise.0"}
    dimensions = analysed(TinyGpt(), (torch.zeros(2, 8, dtype=torch.int64),))
    [stem] = residual(dimensions)
    spans = {tensor for d in dimensions.dimensions if d.name == stem for tensor, *_ in d.spans}
    assert {"head.weight", "blocks.1.mlp.2.weight", "norm.weight"} <= spans
    assert "blocks.0.mlp.0.bias" not in spans


def test_residual_widths_go_first() -> None:
    stages: list[dict[str, tuple[int, ...]]] = []

    class Watched(Job):
        def recover(self, student, name, *args, **options):  # type: ignore[no-untyped-def]
            stages.append({n: tuple(t.shape) for n, t in student.tensors().items()})
            return student

    chooser = Chooser("magnitude", "uniform", 4, 0.1, ())
    done = alternating(Watched(prepared(digits_program()), 0.5, chooser, [], CONTEXT))
    first, last = stages[0], stages[-1]
    assert first["stem.0.weight"][0] < 32
    assert first["first.inner.0.weight"][0] == 32
    assert last["first.inner.0.weight"][0] < 32
    assert first["stem.0.weight"] == last["stem.0.weight"]
    assert (
        Roofline().predict(done.program, CONTEXT.target).macs
        <= 0.51 * Roofline().predict(digits_program(), CONTEXT.target).macs
    )


def test_each_stage_is_distilled_and_the_accuracy_stays() -> None:
    listener = Listener()
    done = Prune(amount=0.6, how="alternating", between="10steps").run(
        digits_program(), replace(CONTEXT, progress=listener)
    )
    assert accuracy(done.program) > accuracy(digits_program()) - 0.03
    assert [text for text in listener.said if "stage" in text] == [
        "prune: stage 1, widths that residual sums tie together",
        "prune: stage 2, widths inside blocks",
    ]


def test_a_language_model_meets_its_target() -> None:
    program, batches = tiny_gpt(), text_batches(4)
    context = replace(CONTEXT, calibration=batches, training=batches)
    done = Prune(amount=0.5, how="alternating", between="4steps", multiple=4).run(program, context)
    assert (
        Roofline().predict(done.program, CONTEXT.target).macs <= 0.5 * Roofline().predict(program, CONTEXT.target).macs
    )
    assert done.program.get("head.weight").shape[1] < 32


def test_without_residual_sums_the_inner_widths_are_all_there_is() -> None:
    done = Prune(amount=0.3, how="alternating", between="none", keep=("stem.*", "pointwise.*")).run(
        digits_program(), CONTEXT
    )
    assert "first.inner.0.weight" in done.changed
    assert "stem.0.weight" not in done.changed
