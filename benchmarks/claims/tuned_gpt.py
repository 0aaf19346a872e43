"""The byte-level GPT, trained on prose and tuned to code: alone, or with smaller ones over the same weights."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence

from models import library
from torch import Tensor
from torch.nn import functional

from compressor.graph.contract import Batch, Context, PassResult
from compressor.graph.dimensions.groups import analyse
from compressor.graph.program import Program
from compressor.passes.elastic import Elastic
from compressor.passes.nesting.choice import Choice
from compressor.passes.nesting.entry import Maker, calibrated
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.widths import Ladder
from compressor.passes.recover import Settings, recover
from compressor.targets.loader import load_target

from . import language

__all__ = ["CALIBRATED", "code_lessons", "context_of", "elastic_gpt", "mix_of", "perplexity", "tuned", "tuned_plainly"]

CALIBRATED = 4  # batches that units are ranked on
TESTS = 128  # windows of held-out code


def context_of(teacher: Program, batches: Sequence[Batch], seed: int) -> Context:
    return Context(
        load_target("x86-64"), calibration=batches[:CALIBRATED], training=batches, teacher=teacher, synthetic=False,
        seed=seed,
    )  # fmt: skip


def code_lessons(steps: int, seed: int) -> Sequence[Batch]:
    """As many windows of code as the steps take, each once, and what is held out of them."""
    key = language.subject().program.inputs[0].name
    count = max(8, steps * 6 // 5 + 1)
    return [{key: ids} for ids in library.windows("train", language.BATCH * count, seed).split(language.BATCH)]


def tuned(program: Program, steps: int, seed: int, part: slice = slice(None)) -> Program:
    """Trained on its own by what comes next in the text."""
    batches = code_lessons(steps, seed)[part]
    count = max(1, len(batches) * 5 // 6)
    return recover(
        program, language.subject().program, batches, f"{count}steps", losses="task", settings=Settings(), seed=seed
    ).program


@functools.cache
def tuned_plainly(steps: int, seed: int) -> tuple[Program, float]:
    """The plain fine-tuning, and its processor seconds."""
    began = time.process_time()
    program = tuned(language.subject().program, steps, seed)
    return program, time.process_time() - began


def elastic_gpt(program: Program, steps: int, seed: int, shares: str = "0.5/0.25", **options: object) -> PassResult:
    given = context_of(language.subject().program, code_lessons(max(steps, 1), seed), seed)
    train = f"{steps}steps" if steps else "none"
    return Elastic(shares, train=train, losses="task", **options).run(program, given)  # type: ignore[arg-type]


def perplexity(program: Program, windows: Tensor | None = None) -> float:
    """On modules that were not trained on, or on these windows."""
    total, count = 0.0, 0
    for ids in (library.windows("test", TESTS) if windows is None else windows).split(language.BATCH):
        [scores] = program.run([ids]).values()
        total += float(functional.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
        count += ids[:, 1:].numel()
    return math.exp(total / count)


def mix_of(program: Program, choice: Choice) -> Program:
    """What is chosen after training: the units are in order already."""
    dimensions = analyse(program)
    ladders = [
        Ladder(one, tuple(reversed(one.units)), tuple(range(len(one.units))))
        for one in dimensions.dimensions
        if one.name in choice.widths
    ]
    entry = Maker(Ranked(dimensions, ladders, {}, ())).make(choice)
    return calibrated(entry, program, ()).program
