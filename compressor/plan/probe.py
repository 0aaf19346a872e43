"""How much of what a pass does to the outputs a short training takes back: pass by pass.

    ρ_pass = damage after a few steps of recovery / damage before        of a cut by that pass alone, at a stated share

Removing depth, width and rank damage a network very differently before it is trained and after: their options are
weighed by what is left. What takes nothing away (bits) is not trained here, and keeps its damage. What is cut is
decided on a board that is always the same (`even.py`), so that what was probed holds for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compressor.passes import find_pass
from compressor.plan.problem import Problem
from compressor.plan.realize import realize
from compressor.plan.solvers import choose_solver
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["Probe", "recoveries"]

STEPS = "40steps"
SHARE = 0.75  # of the time that a probe's cut leaves
LEAST = 0.01  # of the damage: less is noise


@dataclass(frozen=True)
class Probe:
    """Damage of one pass' cut before and after the steps."""

    before: float
    after: float

    @property
    def left(self) -> float:
        return min(max(self.after / self.before, LEAST), 1.0) if self.before > 0 else 1.0


def recoveries(tables: Tables, swapper: Swapper) -> dict[str, Probe]:
    """By name of the pass, for those that take structure away; nothing without data to train on. `tables` are those of
    the even board."""
    context = swapper.making
    if not context.training or swapper.judge is None:
        return {}
    found, shelf = {}, swapper.shelf
    names = dict.fromkeys(place.means.name for place in tables.places if place.means.structural)
    for name in context.progress.over(list(names), "probing recovery"):
        own = [site for site, place in zip(tables.sites, tables.places, strict=True) if place.means.name == name]
        key = f"recovery {swapper.digest} {name} {STEPS} {SHARE} {own} {find_pass(name).reads(context.target)}"
        probe = shelf.recall(key, lambda said: Probe(*map(float, said)))
        if probe is None:
            probe = _probe(name, tables, swapper)
            shelf.keep(key, [probe.before, probe.after])
        found[name] = probe
    return found


def _probe(name: str, tables: Tables, swapper: Swapper) -> Probe:
    """Cut by one pass alone, and train."""
    solution = choose_solver(problem := _alone(name, tables)).solver.solve(problem)[0]
    cut = realize(tables, solution.picks, swapper.program, swapper.making).program
    before = swapper.damage(cut) or 0.0
    if before <= 0:
        return Probe(before, before)
    trained = find_pass("recover")(budget=STEPS).run(cut, replace(swapper.making, checkpoint=None))  # type: ignore[call-arg]
    return Probe(before, swapper.damage(trained.program) or 0.0)


def _alone(name: str, tables: Tables) -> Problem:
    """The least damage at a share of the cost, with the options of one pass."""
    only = tables.only([index for index, place in enumerate(tables.places) if place.means.name == name])
    as_it_is = only.problem({}, {}, {}).costs((0,) * len(tables.sites))
    return only.problem({"latency": SHARE * as_it_is["latency"]}, {"damage": 1.0}, {})
