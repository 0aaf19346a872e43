"""What the tables do not know of a pass' cut: how much more many of its options do than each alone, and how much of
that a short training takes back. Pass by pass, at a mild and at a severe cut.

    added_pass(share) = damage of a cut to that share of the time by the pass alone / Σ damage of its options
    left_pass(share)  = damage after a few steps of recovery / damage before
    ln added, ln left: linear in ln share between both cuts, and no further

Removing depth, width and rank damage a network very differently before it is trained and after, and a mild cut heals
otherwise than a severe one: options are weighed by what is left at the plan's own share. What takes nothing away (bits)
is not trained here, and keeps its damage. What is cut is decided on a board that is always the same (`even.py`), so
that what was probed holds for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log

from compressor.graph.program import Program
from compressor.passes import find_pass
from compressor.plan.problem import Problem
from compressor.plan.realize import realize
from compressor.plan.solvers import choose_solver
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["MILD", "SEVERE", "STEPS", "Probe", "Probed", "Probes", "alone", "recoveries", "trained_damage"]

STEPS = "40steps"
MILD, SEVERE = 0.75, 0.35  # of the time that a probe's cut leaves
LEAST = 0.01  # of the damage: less is noise
ADDED = (0.1, 10.0)


@dataclass(frozen=True)
class Probe:
    """Damage of one pass' cut: what the tables say, before the steps and after them."""

    said: float
    before: float
    after: float

    @property
    def added(self) -> float:
        return min(max(self.before / self.said, ADDED[0]), ADDED[1]) if self.said > 0 < self.before else 1.0

    @property
    def left(self) -> float:
        return min(max(self.after / self.before, LEAST), 1.0) if self.before > 0 else 1.0


@dataclass(frozen=True)
class Probed:
    """A mild and a severe cut of one pass."""

    mild: Probe
    severe: Probe

    def added(self, share: float) -> float:
        return _between(self.mild.added, self.severe.added, share)

    def left(self, share: float) -> float:
        return _between(self.mild.left, self.severe.left, share)


Probes = Mapping[str, Probed]  # by name of the pass


def _between(mild: float, severe: float, share: float) -> float:
    way = log(max(share, SEVERE) / MILD) / log(SEVERE / MILD)
    return exp(log(mild) + max(way, 0.0) * (log(severe) - log(mild)))


def recoveries(tables: Tables, swapper: Swapper) -> Probes | None:
    """For those that take structure away; nothing without data to train on. None where the time is over before all are
    probed, for one that is not would be held to more. `tables` are those of the even board."""
    context = swapper.making
    if not context.training or swapper.judge is None:
        return {}
    names = list(dict.fromkeys(place.means.name for place in tables.places if place.means.structural))
    found = {}
    for name in context.progress.over(names, "probing recovery"):
        mild, severe = (_kept(name, share, tables, swapper) for share in (MILD, SEVERE))
        if mild is None or severe is None:
            return None
        found[name] = Probed(mild, severe)
    return found


def _kept(name: str, share: float, tables: Tables, swapper: Swapper) -> Probe | None:
    """What an earlier run saw, or this one does, while there is time."""
    own = [site for site, place in zip(tables.sites, tables.places, strict=True) if place.means.name == name]
    reads = find_pass(name).reads(swapper.making.target)
    key = f"recovery of a cut {swapper.digest} {name} {STEPS} {share} {own} {reads}"
    probe = swapper.shelf.recall(key, lambda said: Probe(*map(float, said)))
    if probe is None and not swapper.clock.over():
        probe = _probe(name, share, tables, swapper)
        swapper.shelf.keep(key, [probe.said, probe.before, probe.after])
    return probe


def _probe(name: str, share: float, tables: Tables, swapper: Swapper) -> Probe:
    """Cut by one pass alone, and train."""
    solution = choose_solver(problem := alone(name, share, tables)).solver.solve(problem)[0]
    said = solution.costs.get("damage", 0.0)
    cut = realize(tables, solution.picks, swapper.program, swapper.making).program
    before = swapper.damage(cut) or 0.0
    if before <= 0:
        return Probe(said, before, before)
    return Probe(said, before, trained_damage(cut, swapper))


def trained_damage(cut: Program, swapper: Swapper) -> float:
    """Of a program after the steps."""
    trained = find_pass("recover")(budget=STEPS).run(cut, replace(swapper.making, checkpoint=None))  # type: ignore[call-arg]
    return swapper.damage(trained.program) or 0.0


def alone(name: str, share: float, tables: Tables) -> Problem:
    """The least damage at a share of the time, with the options of one pass; where it does not go that far, as far as
    it goes."""
    only = tables.only([index for index, place in enumerate(tables.places) if place.means.name == name])
    as_it_is = only.problem({}, {}, {}).costs((0,) * len(tables.sites))
    return only.problem({"latency": share * as_it_is["latency"]}, {"damage": 1.0}, {})
