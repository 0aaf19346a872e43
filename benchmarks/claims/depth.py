"""Depth: which blocks of the byte-level GPT go, and how; perplexity on held-out pages.

A block of 6 is a sixth: a quarter of the depth is 3 of the 12 branches (attention or MLP), or 2 of the 6 blocks (a
third). No training but that of the gates; `healed` is greedy with what is missing folded into the layer before.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from compressor.graph.contract import Context
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.passes.drop import By, Drop
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import Unit, candidates_of
from compressor.passes.dropping.choose import least
from compressor.passes.recover.judge import Judge

from .claim import Arm, Claim, Figures, Goal
from .language import context, recovered, subject

__all__ = ["CLAIMS"]

SAMPLES, STEPS = 64, 100
AMOUNT: dict[Unit, float] = {"any": 0.25, "block": 0.33}


def dropped(unit: Unit, by: By, seed: int, heal: str = "none") -> Figures:
    """Perplexity without what goes, untrained."""
    given = _few(context(seed))
    options: dict[str, Any] = {"samples": SAMPLES, "steps": STEPS, "heal": heal}
    result = Drop(AMOUNT[unit], unit, by, **options).run(subject().program, given)
    return {"before": subject().metric(result.program)}


def ranked_once(unit: Unit, seed: int) -> Figures:
    """Those whose absence alone is missed least, all at once."""
    program = finish(functional_copy(subject().program)[0])
    given = _few(context(seed))
    found, _ = candidates_of(program, unit)
    judge = Judge(program, given.calibration)
    alone = [judge.damage(without(program, [each])) for each in found]
    gone = least(found, alone, int(AMOUNT[unit] * len(found) + 0.5))
    return {"before": subject().metric(finish(without(program, gone)))}


def cured(losses: str, seed: int) -> Figures:
    """Perplexity after 80 steps, two of six blocks gone."""
    result = Drop(AMOUNT["block"], "block", samples=SAMPLES).run(subject().program, _few(context(seed)))
    return {"after": recovered(result.program, seed, losses=losses)}


def _few(given: Context) -> Context:
    return dataclasses.replace(given, calibration=given.calibration[: SAMPLES // 16])


def _arms(*ways: By) -> dict[str, Arm]:
    return {f"{unit}-{by}": functools.partial(dropped, unit, by) for unit in AMOUNT for by in ways}


MAMBA_SHEDDER = Claim(
    "mamba-shedder", "GPT of 1.9M, 3 of 12 branches and 2 of 6 blocks, no training",
    {
        **_arms("greedy", "last", "random"),
        **{f"{unit}-once": functools.partial(ranked_once, unit) for unit in AMOUNT},
        **{f"{unit}-healed": functools.partial(dropped, unit, "greedy", heal="auto") for unit in AMOUNT},
    },
    [
        goal
        for unit in AMOUNT
        for goal in (
            Goal(f"{unit}: greedy against random", f"{unit}-greedy.before", f"{unit}-random.before", "ratio", 0.85),
            Goal(f"{unit}: greedy against the last", f"{unit}-greedy.before", f"{unit}-last.before", "ratio", 0.85),
            Goal(f"{unit}: measured anew, or a tie with one ranking", f"{unit}-greedy.before", f"{unit}-once.before",
                 "ratio", 1.0),
            Goal(f"{unit}: folded into the layer before", f"{unit}-healed.before", f"{unit}-greedy.before",
                 "ratio", 0.9999),
        )
    ],
)  # fmt: skip

FOLDGPT_GATES = Claim(
    "foldgpt-gates", "GPT of 1.9M; the gates learn for 100 steps; then 2 of 6 blocks gone and 80 steps of cure",
    {
        **_arms("influence", "gates"),
        **{f"cure-{losses}": functools.partial(cured, losses) for losses in ("foldgpt", "task")},
    },
    [
        *(
            Goal(f"{unit}: gates against block influence, or a tie", f"{unit}-gates.before", f"{unit}-influence.before",
                 "ratio", 1.0)
            for unit in AMOUNT
        ),
        Goal("tail distillation against none", "cure-foldgpt.after", "cure-task.after", "ratio", 0.98),
    ],
)  # fmt: skip

CLAIMS = (MAMBA_SHEDDER, FOLDGPT_GATES)
