"""The check of the ℓ1/ℓ2 latency surrogate: one run of the gradient solver on widths alone, against uniform widths.

Both networks have the same number of multiply–accumulates and are trained for as many steps; nothing but prune's
options may be chosen, and what a plan costs is the latency model's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from subjects import Subject
from weighing import Weighed

from claims.claim import Claim, Figures, Goal
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.recover import recover
from compressor.plan.gradient import Gradient
from compressor.plan.parts import sketched
from compressor.plan.planner import Planner
from compressor.plan.problem import Axis
from compressor.plan.realize import realize

__all__ = ["surrogate_claim", "widths_alone"]

SHARE, STEPS, WITHIN = 0.5, 300, 0.1
Subjects = Callable[[str], tuple[Subject, Weighed]]


def surrogate_claim(subjects: Subjects, name: str = "resnet") -> Claim:
    """On one network; `subjects` weighs it."""
    arms: dict[str, Callable[[int], Figures]] = {
        "gradient": functools.partial(_gradient, subjects, name),
        "uniform": functools.partial(_uniform, subjects, name),
    }
    return Claim(
        f"surrogate-{name}", f"{name}, widths alone at {SHARE:g}× the predicted time, {STEPS} steps", arms,
        [
            Goal("what is left of the tenth by which the limit may be missed", "gradient.off", "0", "points", 0.0),
            Goal("accuracy against uniform widths with as many multiply–accumulates", "gradient.accuracy",
                 "uniform.accuracy", "points", 0.005),
        ],
    )  # fmt: skip


def widths_alone(known: Weighed) -> Weighed:
    """The same, with prune's options and no others."""
    old = known.planner
    places = [place for place in old.places if place.means.name == "prune"]
    planner = Planner(old.swapper, places, old.swapper.measure(places))
    return replace(known, planner=planner)


def _plan(known: Weighed, seed: int) -> tuple[Program, float]:
    """The gradient solver's plan as a program, and its predicted time by its limit."""
    planner = widths_alone(known).planner
    limits: dict[Axis, float] = {"latency": SHARE * planner.base.latency_ms}
    picks = Gradient(seed=seed).solve(planner.first.problem(limits, {"damage": 1.0}, {}))[0].picks
    program = realize(planner.first, picks, known.program, known.context).program
    return program, planner.swapper.parts(sketched(program)).latency_ms / limits["latency"]


def _gradient(subjects: Subjects, name: str, seed: int) -> Figures:
    subject, known = subjects(name)
    program, share = _plan(known, seed)
    return {"accuracy": _trained(subject, known, program, seed), "share": share, "off": WITHIN - abs(share - 1)}


def _uniform(subjects: Subjects, name: str, seed: int) -> Figures:
    subject, known = subjects(name)
    wanted = _macs(_plan(known, seed)[0], known)
    amount = 1 - wanted / _macs(known.program, known)
    program = Prune(amount, where="uniform", least=0.02).run(known.program, known.context).program
    return {"accuracy": _trained(subject, known, program, seed), "macs": _macs(program, known) / wanted}


def _trained(subject: Subject, known: Weighed, program: Program, seed: int) -> float:
    context = known.context
    assert context.teacher is not None
    done = recover(program, context.teacher, context.training, f"{STEPS}steps", seed=seed)
    return subject.metric(done.program)


def _macs(program: Program, known: Weighed) -> int:
    model = known.context.latency
    assert model is not None
    return model.predict(program, known.context.target).macs
