"""The planner: from budgets to the plan that meets them and costs least, and the passes that carry it out.

    weigh every option → probe what training takes back → solve → build → hold it to what was predicted → solve again

How much a pass' options add up to, and what training takes back of it, are those of a cut as deep as the plan's own.
Tables say what plans cost nearly. What is chosen by them is built and costed as a whole, by the same latency model and
on the same data; where it is over a budget, the tables are corrected by it and solved again, and where that goes too
far, by a part of the correction. Of the plans that were built the best is taken, so that none is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from compressor.graph.contract import Context
from compressor.graph.cost import LatencyModel
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.plan.correct import corrected
from compressor.plan.even import even
from compressor.plan.exact import Exact
from compressor.plan.menu import Place
from compressor.plan.parts import Parts
from compressor.plan.probe import MILD, SEVERE, Probes, recoveries
from compressor.plan.problem import Axis, Picks, Problem, Solution, passed
from compressor.plan.solvers import EVOLUTION, Solver, choose_solver
from compressor.plan.swap import Measured, Swapper
from compressor.plan.tables import Tables, build
from compressor.plan.whole import Whole, recalled, whole

__all__ = ["UNIT", "Built", "Plan", "Planner", "Wish"]

ROUNDS = 8  # plans that are built to answer one question
PATIENCE = 3  # plans in a row that are no better, after which there is none
SECONDS = 10.0  # that the exact solver has to say where evolution starts
CLOSE = 0.01  # of a limit: a plan this near below it leaves nothing to gain there
UNGIVEN = 0.05  # weight of each axis without a budget, of the original's cost, beside `UNIT` of damage
UNIT = 0.01
TURNS, ALIKE = 3, 1.1  # times that a plan's depth is looked for, and shares that are one


@dataclass(frozen=True)
class Wish:
    """Upper bounds in milliseconds, bytes and damage, and which solver is to find the plan."""

    limits: Mapping[Axis, float]
    solver: str = "auto"
    axes: tuple[Axis, ...] = ("latency", "size")  # what is to shrink where it has no limit


@dataclass(frozen=True)
class Built:
    """A plan that was carried out: what the tables said, and what it costs as a whole."""

    solution: Solution
    specs: tuple[PassSpec, ...]
    parts: Parts
    damage: float  # as it is thought to be after recovery
    raw: float  # as it is before
    overruns: Mapping[Axis, float]
    objective: float

    @property
    def rank(self) -> tuple[float, float]:
        return (passed(self.overruns), self.objective)

    @property
    def costs(self) -> dict[Axis, float]:
        """As a whole, along all axes."""
        return _costs(self.parts, self.damage)

    def told(self) -> str:
        """In a line: what the passes change, and what that costs beside what the tables said."""
        passes = ", ".join(f"{spec.name} {len(spec.sites)}" for spec in self.specs) or "nothing"
        said = self.solution.costs
        time = f"{self.parts.latency_ms:.4g} ms (tables: {said.get('latency', 0.0):.4g})"
        over = "".join(f", {axis} {share:.1%} over" for axis, share in self.overruns.items())
        return f"plan: {passes}: {time}, {self.parts.bytes / 1e6:.4g} MB, damage {self.raw:.3g}{over}"


@dataclass(frozen=True)
class Plan:
    """The best of the plans that were built, and how it was found."""

    best: Built
    built: tuple[Built, ...]
    solver: str
    reason: str
    tables: Tables
    measured: Measured


@dataclass
class Planner:
    """Answers wishes about one program from one set of measurements. The program is folded."""

    swapper: Swapper
    places: Sequence[Place]
    measured: Measured
    barred: frozenset[str] = frozenset()  # passes that plans do without
    plain: Tables = field(init=False)  # options as each is alone
    first: Tables = field(init=False)  # with what many add up to
    tables: Tables = field(init=False)  # corrected by plans that were built
    even: Tables = field(init=False)  # those of the board that is always the same
    probes: Probes = field(init=False)
    unprobed: bool = field(init=False)  # for want of time
    share: float = field(init=False)  # of the time, that the plan's cut is thought to leave

    def __post_init__(self) -> None:
        self.plain = self.first = self.tables = build(self.places, self.measured)
        self.even = build(self.places, self.measured.survey.on(even(self.context)))
        found = recoveries(self.even, self.swapper)
        self.probes, self.unprobed = found or {}, found is None
        self._cut_to(math.sqrt(MILD * SEVERE))

    def priced_by(self, latency: LatencyModel) -> None:
        """Go on with another latency model; what plans taught of the old one's prices is left behind."""
        self.swapper.priced_by(latency)
        self.measured = self.measured.survey.on(self.context)
        self.plain = self.first = self.tables = build(self.places, self.measured)
        self._cut_to(self.share)

    @property
    def program(self) -> Program:
        return self.swapper.program

    @property
    def context(self) -> Context:
        return self.swapper.context

    @property
    def base(self) -> Parts:
        return self.measured.base

    @property
    def weighed(self) -> Tables:
        """The tables with the damage that training is thought to leave."""
        return self.tables.weighed({name: probed.left(self.share) for name, probed in self.probes.items()})

    def problem(self, wish: Wish) -> Problem:
        """What the solvers are asked."""
        units = {axis: self._unit(axis) for axis in ("damage", *wish.axes)}
        weights = {axis: UNGIVEN for axis in wish.axes if axis not in wish.limits}
        means = enumerate(place.means.name for place in self.tables.places)
        allowed = [index for index, name in means if name not in self.barred]
        return self.weighed.only(allowed).problem(wish.limits, {"damage": 1.0, **weights}, units)

    def bits_damage(self, picks: Picks) -> float:
        """Of what takes nothing away, as each option has it alone."""
        pairs = zip(picks, self.plain.places, strict=True)
        kept = tuple(0 if place.means.structural else pick for pick, place in pairs)
        return self.plain.problem({}, {}, {}).costs(kept).get("damage", 0.0)

    def plan(self, wish: Wish) -> Plan:
        """The best plan that was found within the limits; where there is none, the one that breaks them least."""
        if wish.solver == EVOLUTION and self.tables.sites:
            return self._evolved(wish)
        built: list[Built] = []
        chosen = choose_solver(self.problem(wish), wish.solver, seed=self.context.seed)
        self._settle(wish, chosen.solver)
        over, before = None, self.tables
        low, share, high = 0.0, 1.0, 1.0
        for _ in self.context.progress.over(range(ROUNDS), "planning"):
            problem = self.problem(wish)
            solution = chosen.solver.solve(problem)[0]
            if any(each.solution.picks == solution.picks for each in built) or (built and self.swapper.clock.over()):
                break
            latest = self.built(problem, solution)
            built.append(latest)
            self.context.progress.say(latest.told())
            if len(built) - built.index(min(built, key=lambda each: each.rank)) > PATIENCE:
                break
            if latest.overruns and share == 1.0:
                over, before = latest, self.tables
            elif latest.overruns:
                low, share = share, (share + high) / 2
            elif self._tight(wish, latest):
                break
            elif over is not None:
                high, share = share, (low + share) / 2
            self.tables = self._corrected(before if over else self.tables, over or latest, share)
        best = min(built, key=lambda each: each.rank)
        return Plan(best, tuple(built), chosen.name, chosen.reason, self.tables, self.measured)

    def _evolved(self, wish: Wish) -> Plan:
        """By what plans cost as wholes: a few are built in each of some rounds, and light predictors learn from them
        which to build next. What the exact solver says of the tables is among the first."""
        self._settle(wish, Exact(seconds=SECONDS))
        problem, built = self.problem(wish), dict[Picks, Built]()

        def measure(picks: Picks) -> Mapping[Axis, float]:
            built[picks] = self.built(problem, problem.solution(picks))
            self.context.progress.say(built[picks].told())
            return built[picks].costs

        start = Exact(seconds=SECONDS).solve(problem)[0].picks
        over, seed = self.swapper.clock.over, self.context.seed
        chosen = choose_solver(problem, EVOLUTION, measure=measure, seed=seed, starts=(start,), over=over)
        chosen.solver.solve(problem)
        best = min(built.values(), key=lambda each: each.rank)
        return Plan(best, tuple(built.values()), chosen.name, chosen.reason, self.tables, self.measured)

    def _settle(self, wish: Wish, solver: Solver) -> None:
        """Look for the share at which what is best is as deep a cut as was thought."""
        for _ in range(TURNS if self.probes else 0):
            share = self._left_by(solver.solve(self.problem(wish))[0].picks)
            if max(share, self.share) < ALIKE * min(share, self.share):
                return
            self._cut_to(share)

    def _left_by(self, picks: Picks) -> float:
        """The share of the time that what the plan takes away leaves, on the even board."""
        costs = self.even.problem({}, {}, {}).costs
        pairs = zip(picks, self.even.places, strict=True)
        cut = tuple(pick if place.means.structural else 0 for pick, place in pairs)
        before = costs((0,) * len(picks))["latency"]
        return min(max(costs(cut)["latency"] / before, SEVERE), MILD) if before > 0 else MILD

    def _cut_to(self, share: float) -> None:
        """Weigh damage by what was probed of such cuts. What was learnt of another depth is left behind."""
        self.share = share
        added = {name: probed.added(share) for name, probed in self.probes.items()}
        self.first = self.plain.weighed(added)
        self.tables = self.tables.with_damage(self.first)

    def _tight(self, wish: Wish, built: Built) -> bool:
        """Whether some limit leaves no room worth another round."""
        return any(built.costs[axis] > (1 - CLOSE) * limit for axis, limit in wish.limits.items())

    def _corrected(self, tables: Tables, seen: Built, share: float) -> Tables:
        return corrected(tables, self.first, seen.solution.picks, seen.parts, seen.raw or None, share)

    def built(self, problem: Problem, solution: Solution) -> Built:
        """A solution carried out, or read from an earlier run."""
        return self._built(whole(self.tables, solution.picks, self.swapper), problem, solution)

    def repriced(self, plan: Plan) -> Plan:
        """A plan that an earlier latency model priced, with what its best costs by this one."""
        found = whole(plan.tables, plan.best.solution.picks, self.swapper)
        return replace(plan, best=replace(plan.best, parts=found.parts))

    def recalled(self, problem: Problem, solution: Solution) -> Built | None:
        """A solution that an earlier run has carried out."""
        found = recalled(self.tables, solution.picks, self.swapper)
        return None if found is None else self._built(found, problem, solution)

    def _built(self, found: Whole, problem: Problem, solution: Solution) -> Built:
        parts, raw = found.parts, found.damage
        told = solution.costs.get("damage", 0.0)
        untrained = self.tables.problem({}, {}, {}).costs(solution.picks).get("damage", 0.0)
        damage = told if raw is None or untrained <= 0 else raw * told / untrained
        costs = _costs(parts, damage)
        raw = damage if raw is None else raw
        return Built(solution, found.specs, parts, damage, raw, problem.overruns(costs), problem.objective(costs))

    def _unit(self, axis: Axis) -> float:
        return UNIT if axis == "damage" else _costs(self.base, 0.0)[axis] or 1.0


def _costs(parts: Parts, damage: float) -> dict[Axis, float]:
    return {"damage": damage, "latency": parts.latency_ms, "size": parts.bytes, "memory": parts.memory}
