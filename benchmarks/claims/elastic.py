"""One network that is several: BigNAS's widths on Fashion-MNIST; InstaTune, MatFormer and SoFT on the byte-level GPT,
which was trained on prose and is tuned to code.

Arms of a check take as many steps on the same data and have the same peak rate: an entry learns in each step of a
sandwich and of sorted exits, in one of three of `nested`; a network of its own learns in each. What is judged is always
an entry's own program, its batch statistics estimated on training data.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping

import torch

from compressor.graph.contract import PassResult
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.entries import Entry, of_rows
from compressor.graph.program import Program
from compressor.passes.elastic import Elastic
from compressor.passes.nesting.choice import Choice
from compressor.passes.recover import Settings, recover
from compressor.passes.recover.norms import statistics_of

from . import language, vision
from .claim import Arm, Claim, Figures, Goal
from .taught import teacher
from .tuned_gpt import code_lessons, context_of, elastic_gpt, mix_of, perplexity, tuned, tuned_plainly

__all__ = ["elastic_claims"]

SHARES = "0.5/0.25"
HALF, QUARTER = SHARES.split("/")


def elastic_claims(steps: int, images: int, epochs: int) -> tuple[Claim, ...]:
    """The checks with so many steps of the GPT, and epochs over so many images."""
    return (bignas(images, epochs), instatune(steps), matformer(steps), soft(steps))


# ---------------------------------------------------------------------------------------------------------- BigNAS

WIDTH, RATE = 32, 3e-3


def _fresh(seed: int) -> Program:
    torch.manual_seed(seed)
    return vision.program_of(vision.Small(WIDTH))


def _sandwich(images: int, epochs: int, seed: int, *, inplace: bool = True) -> PassResult:
    """From scratch, with labels alone: what the teacher says is not asked for."""
    fresh = _fresh(seed)
    given = context_of(teacher("resnet"), vision.lessons(fresh, images, seed, True), seed)
    options = {"part": "all", "losses": "ce", "rate": RATE, "score": "magnitude", "inplace": inplace}
    return Elastic(SHARES, train=f"{epochs}epochs", **options).run(fresh, given)  # type: ignore[arg-type]


def together(images: int, epochs: int, seed: int) -> Figures:
    """All sizes from one training; `stale` is the smallest with the whole network's batch statistics."""
    done = _sandwich(images, epochs, seed)
    figures = {name: vision.accuracy(entry.program) for name, entry in _named(done).items()}
    stale = vision.accuracy(_uncalibrated(done.entries[QUARTER], done.program))
    return {"full": vision.accuracy(done.program), **figures, "stale": stale}


def labelled(images: int, epochs: int, seed: int) -> Figures:
    """The same where the smaller ones learn from labels, too."""
    done = _sandwich(images, epochs, seed, inplace=False)
    return {name: vision.accuracy(entry.program) for name, entry in _named(done).items()}


def alone(images: int, epochs: int, share: str, seed: int) -> Figures:
    """One size from scratch by itself."""
    fresh = _fresh(seed)
    batches = vision.lessons(fresh, images, seed, True)
    if share != "full":
        made = Elastic(SHARES, train="none", part="all", score="magnitude")
        fresh = made.run(fresh, context_of(fresh, batches, seed)).entries[share].program
    done = recover(
        fresh, teacher("resnet"), batches, f"{epochs}epochs", losses="ce", settings=Settings(rate=RATE), seed=seed
    )
    return {"accuracy": vision.accuracy(done.program)}


def _named(done: PassResult) -> Mapping[str, Entry]:
    return {{HALF: "half", QUARTER: "quarter"}[name]: entry for name, entry in done.entries.items()}


def _uncalibrated(entry: Entry, parent: Program) -> Program:
    copy = begin(entry.program)
    for name in statistics_of(entry.program):
        weight = f"{name.rpartition('.')[0]}.weight"  # the norm's own
        set_tensor(copy, name, of_rows(parent.get(name), entry.rows[weight]).clone())
    return finish(copy)


def bignas(images: int, epochs: int) -> Claim:
    sizes = {"full": "full", "half": HALF, "quarter": QUARTER}
    arms: dict[str, Arm] = {
        "together": functools.partial(together, images, epochs),
        "labelled": functools.partial(labelled, images, epochs),
        **{f"alone-{name}": functools.partial(alone, images, epochs, share) for name, share in sizes.items()},
    }  # fmt: skip
    return Claim(
        f"bignas-{images}-{epochs}", f"a CNN of 2 MMAC in three widths, {images} images for {epochs} epochs", arms,
        [
            *(
                Goal(f"{name}: one training against one of its own", f"together.{name}", f"alone-{name}.accuracy",
                     "points", -0.01)
                for name in sizes
            ),
            Goal("smallest: from the biggest against from labels", "together.quarter", "labelled.quarter", "points",
                 0.005),
            Goal("smallest: its own batch statistics against the biggest's", "together.quarter", "together.stale",
                 "points", 0.2),
        ],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- the GPT, fine-tuned


def plain(steps: int, seed: int) -> Figures:
    """Fine-tuning without entries; `exit` is its half depth."""
    program, seconds = tuned_plainly(steps, seed)
    early = elastic_gpt(program, 0, seed, HALF, how="sorted").entries[HALF]
    return {"full": perplexity(program), "exit": perplexity(early.program), "seconds": seconds}


# -------------------------------------------------------------------------------------------------------- InstaTune


def tuned_together(steps: int, seed: int) -> Figures:
    """The network and its half FFN, which learns from it, in every step."""
    began = time.process_time()
    done = elastic_gpt(language.subject().program, steps, seed, HALF, part="mlp", mixes=0)
    seconds = time.process_time() - began
    return {"full": perplexity(done.program), "half": perplexity(done.entries[HALF].program), "seconds": seconds}


def pruned_later(steps: int, seed: int) -> Figures:
    """Half of the steps for the network, then half of its FFN cut, then the other half of the steps for that."""
    middle = len(code_lessons(steps, seed)) // 2
    first = tuned(language.subject().program, steps, seed, slice(middle))
    half = elastic_gpt(first, 0, seed, HALF, part="mlp").entries[HALF].program
    return {"half": perplexity(tuned(half, steps, seed, slice(middle, None)))}


def instatune(steps: int) -> Claim:
    return Claim(
        f"instatune-{steps}", f"GPT of 1.9M, {steps} steps from prose to code; seconds of the processor",
        {
            "plain": functools.partial(plain, steps), "together": functools.partial(tuned_together, steps),
            "later": functools.partial(pruned_later, steps),
        },
        [
            Goal("time of the elastic tuning against the plain one", "together.seconds", "plain.seconds", "ratio", 2.0),
            Goal("the largest against the plain one", "together.full", "plain.full", "ratio", 1.01),
            Goal("half the FFN against pruned between, as many steps in all", "together.half", "later.half", "ratio",
                 0.9999),
        ],
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- MatFormer


def nested(steps: int, seed: int) -> Figures:
    """Three sizes of the FFN, one drawn a batch; `mix` has half the width in the later half of the layers, a quarter in
    the earlier, and `line` is what lies between these two sizes, by parameters."""
    done = elastic_gpt(language.subject().program, steps, seed, part="mlp", how="nested")
    half, quarter = done.entries[HALF].program, done.entries[QUARTER].program
    names = [site for site in done.settings if site != "program"]
    later = set(names[len(names) // 2 :])
    mixed = mix_of(done.program, Choice({name: 0.5 if name in later else 0.25 for name in names}))
    share = (mixed.parameters() - quarter.parameters()) / (half.parameters() - quarter.parameters())
    ends = [math.log(perplexity(each)) for each in (quarter, half)]
    line = math.exp(ends[0] + share * (ends[1] - ends[0]))
    return {
        "full": perplexity(done.program), "half": perplexity(half), "quarter": perplexity(quarter),
        "mix": perplexity(mixed), "line": line,
    }  # fmt: skip


def separate(steps: int, share: str, seed: int) -> Figures:
    """One size, cut from the trained network and tuned by itself."""
    cut = elastic_gpt(language.subject().program, 0, seed, part="mlp").entries[share].program
    return {"perplexity": perplexity(tuned(cut, steps, seed))}


def matformer(steps: int) -> Claim:
    sizes = {"half": HALF, "quarter": QUARTER}
    return Claim(
        f"matformer-{steps}", f"GPT of 1.9M, {steps} steps from prose to code, for all sizes or for each",
        {
            "nested": functools.partial(nested, steps), "plain": functools.partial(plain, steps),
            **{f"alone-{name}": functools.partial(separate, steps, share) for name, share in sizes.items()},
        },
        [
            Goal("full: nested against a tuning of its own", "nested.full", "plain.full", "ratio", 1.03),
            *(
                Goal(f"{name}: nested against a network of its own", f"nested.{name}", f"alone-{name}.perplexity",
                     "ratio", 1.03)
                for name in sizes
            ),
            Goal("a mix that was not trained, against the line between sizes", "nested.mix", "nested.line", "ratio",
                 1.03),
        ],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- SoFT


def sorted_exits(steps: int, seed: int) -> Figures:
    """The mean of the losses of the whole depth and of half of it."""
    done = elastic_gpt(language.subject().program, steps, seed, HALF, how="sorted")
    return {"full": perplexity(done.program), "exit": perplexity(done.entries[HALF].program)}


def soft(steps: int) -> Claim:
    return Claim(
        f"soft-{steps}", f"GPT of 1.9M, {steps} steps from prose to code, exits behind 6 and 3 blocks",
        {"sorted": functools.partial(sorted_exits, steps), "plain": functools.partial(plain, steps)},
        [
            Goal("half the depth: sorted against plain tuning and an early exit", "sorted.exit", "plain.exit", "ratio",
                 0.7),
            Goal("the whole depth: sorted against plain", "sorted.full", "plain.full", "ratio", 1.02),
        ],
    )  # fmt: skip
