"""LLaMA-NAS's check: one fine-tuning for many depths and widths of the FFN, and a search among them for a time.

The GPT is tuned from prose to code as a sandwich with drawn mixes, so that any mix can be cut out of it. Uniform
shrinks of the same weights have one width in all layers, and fewer blocks; the search (LINAS, as the planner has it)
chooses both by layer. It is led by windows of the training text, and what it found is judged on modules that were held
out.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from models import library

from compressor.devices.latency.lookup import latency_model
from compressor.graph.program import Program
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.nesting.choice import Choice, blocks_out
from compressor.passes.quantize import Quantize
from compressor.plan.evolution import Evolutionary
from compressor.plan.problem import Axis, Picks, Problem, Site, Term
from compressor.targets.loader import load_target

from . import language
from .claim import Claim, Figures, Goal
from .tuned_gpt import CALIBRATED, code_lessons, context_of, elastic_gpt, mix_of, perplexity

__all__ = ["choice_of", "llama_nas", "space"]

WIDTHS = (1.0, 0.5, 0.25)
LED = 32  # windows that the search is led by
ROUNDS, EACH, MIXES = 5, 12, 8


def llama_nas(steps: int) -> Claim:
    """The check with so many steps of the one training."""
    return Claim(
        f"llama-nas-{steps}", f"GPT of 1.9M, {steps} steps from prose to code; 3 widths of 6 FFNs, 6 blocks or fewer",
        {"one": functools.partial(searched, steps)},
        [
            Goal("the best mix found against the best uniform shrink that is as fast", "one.found", "one.uniform",
                 "ratio", 0.97),
            Goal("int8 on top of it", "one.int8", "one.found", "ratio", 1.01),
        ],
    )  # fmt: skip


def searched(steps: int, seed: int) -> Figures:
    """Held-out perplexity of the best uniform shrink within the time of half the FFN, of the best mix within the time
    of that shrink, and of that in eight bits; milliseconds as predicted for this machine."""
    done = elastic_gpt(language.subject().program, steps, seed, along="both", part="mlp", mixes=MIXES)
    widths = sorted({s for s, told in done.settings.items() if "keep" in told})
    blocks = [each.site for each in candidates_of(done.program, "block")[0]]
    bench = _Bench(done.program, widths, blocks, seed)
    limit = bench.ms(bench.uniform(0.5, 0))
    uniform = [bench.uniform(width, out) for width, out in itertools.product(WIDTHS, range(len(blocks) // 2 + 1))]
    shrunk = min((each for each in uniform if bench.ms(each) <= limit), key=lambda each: bench.costs(each)["damage"])
    problem = space(len(widths), len(blocks), bench.ms(shrunk), bench.ms((0,) * (len(widths) + len(blocks))))
    search = Evolutionary(measure=bench.costs, rounds=ROUNDS, each=EACH, seed=seed, starts=(shrunk,))
    found = search.solve(problem)[0].picks
    program = bench.program(found)
    int8 = Quantize("int8").run(program, context_of(done.program, code_lessons(1, seed), seed)).program
    return {
        "found": perplexity(program), "uniform": perplexity(bench.program(shrunk)), "int8": perplexity(int8),
        "full": perplexity(done.program), "found_ms": bench.ms(found), "uniform_ms": bench.ms(shrunk),
    }  # fmt: skip


class _Bench:
    """Programs of picks: a width of each FFN, then whether each block goes."""

    def __init__(self, parent: Program, widths: Sequence[str], blocks: Sequence[str], seed: int) -> None:
        self.parent, self.widths, self.blocks = parent, widths, blocks
        self.ranked = code_lessons(1, seed)[:CALIBRATED]
        self.windows = library.windows("train", LED, seed + 100)
        self.board = load_target("host")
        self.model = latency_model(self.board)
        self.known: dict[Picks, Mapping[Axis, float]] = {}

    def program(self, picks: Picks) -> Program:
        return mix_of(self.parent, choice_of(picks, self.widths, self.blocks))

    def uniform(self, width: float, out: int) -> Picks:
        """One width in all layers; the blocks go that the training has its own entries do without."""
        share, found = 1 - out / len(self.blocks), candidates_of(self.parent, "block")[0]
        gone = blocks_out(self.parent, found, share, first=False, batches=self.ranked)
        return (*(WIDTHS.index(width),) * len(self.widths), *(int(site in gone) for site in self.blocks))

    def ms(self, picks: Picks) -> float:
        return self.costs(picks)["latency"]

    def costs(self, picks: Picks) -> Mapping[Axis, float]:
        if picks not in self.known:
            program = self.program(picks)
            ms = self.model.predict(program, self.board).latency_ms
            self.known[picks] = {"damage": math.log(perplexity(program, self.windows)), "latency": ms}
        return self.known[picks]


def choice_of(picks: Picks, widths: Sequence[str], blocks: Sequence[str]) -> Choice:
    """What picks keep."""
    kept = {site: WIDTHS[pick] for site, pick in zip(widths, picks, strict=False) if pick}
    return Choice(kept, frozenset(site for site, gone in zip(blocks, picks[len(widths) :], strict=True) if gone))


def space(widths: int, blocks: int, limit: float, whole: float) -> Problem:
    """First guesses for the predictors: time falls with what is left out, and damage grows."""
    sites = (
        *(Site(f"width {number}", tuple(map(str, WIDTHS))) for number in range(widths)),
        *(Site(f"block {number}", ("stays", "goes")) for number in range(blocks)),
    )
    terms: list[Term] = []
    for number in range(len(sites)):
        gone: Any = 1 - np.array(WIDTHS) if number < widths else np.array([0.0, 1.0])
        share = 0.5 / widths if number < widths else 0.5 / blocks
        terms += [
            Term("latency", (number,), whole * share * (1 - gone)),
            Term("damage", (number,), 0.5 + share * gone),
        ]
    return Problem(sites, tuple(terms), {"latency": limit}, {"damage": 1.0})
