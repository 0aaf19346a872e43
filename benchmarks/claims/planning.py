"""The checks of the planner's solvers: Puzzle's program, SimQ-NAS's search in rounds, Compressor's student search.

puzzle      one option a site by the exact solver, against greedy and uniform choices of the same options
simq        hypervolume of 60 measured plans that light predictors led to, against 150 drawn ones
compressor  the most multiply–accumulates within so many bytes, on a grid that is small enough to try all of it
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from subjects import Subject
from weighing import Weighed

from claims.claim import Claim, Figures, Goal
from compressor.plan.evolution import Evolutionary, Predictor, hypervolume
from compressor.plan.exact import Exact
from compressor.plan.problem import Axis, Picks, Problem, Site, Solution, Term
from compressor.plan.realize import realize
from compressor.planning import DAMAGE

__all__ = ["greedy", "planning_claims", "student_space", "uniform"]

BUDGETS = (0.7, 0.5, 0.35)  # of the time
ROUNDS, EACH, DRAWN = 6, 10, 150
AXES: tuple[Axis, ...] = ("damage", "latency")
Subjects = Callable[[str], tuple[Subject, Weighed]]


def planning_claims(subjects: Subjects, puzzle: str = "gpt", simq: str = "resnet") -> list[Claim]:
    """`subjects` weighs a network by name."""
    return [_puzzle(subjects, puzzle), _simq(subjects, simq), _compressor()]


def _puzzle(subjects: Subjects, name: str) -> Claim:
    arms: dict[str, Callable[[int], Figures]] = {
        how.__name__.strip("_"): functools.partial(_carried, subjects, name, how) for how in (_exact, greedy, uniform)
    }
    goals = [
        Goal(f"outputs' divergence at {share:g}× is no more than {other}'s", f"exact.damage_{share:g}",
             f"{other}.damage_{share:g}", "ratio", 1.0)
        for share in BUDGETS for other in ("greedy", "uniform")
    ]  # fmt: skip
    return Claim(f"puzzle-{name}", f"{name}, all options of all passes, nothing trained", arms, goals)


def _carried(subjects: Subjects, name: str, how: Callable[[Problem], Picks], _seed: int) -> Figures:
    """The plan at each budget, built: its divergence, the metric, and its predicted time as a share of the limit."""
    subject, known = subjects(name)
    tables, base = known.planner.first, known.planner.base
    found: dict[str, float] = {}
    for share in BUDGETS:
        limits: dict[Axis, float] = {"latency": share * base.latency_ms}
        problem = tables.problem(limits, {"damage": 1.0}, {})
        picks = how(problem)
        built = known.planner.built(problem, problem.solution(picks))
        program = realize(tables, picks, known.program, known.context).program
        found |= {
            f"damage_{share:g}": built.raw, f"{subject.metric_name}_{share:g}": subject.metric(program),
            f"time_{share:g}": built.costs["latency"] / limits["latency"],
        }  # fmt: skip
    return found


def _exact(problem: Problem) -> Picks:
    return Exact().solve(problem)[0].picks


def greedy(problem: Problem) -> Picks:
    """From the original on, the change that saves the most time for its damage, until the limit holds."""
    picks = [0] * len(problem.sites)
    costs, limit = problem.costs(picks), problem.limits["latency"]
    while costs["latency"] > limit:
        best: tuple[float, list[int], Mapping[Axis, float]] | None = None
        for site, options in enumerate(site.options for site in problem.sites):
            for option in range(1, len(options)):
                changed = [*picks[:site], option, *picks[site + 1 :]]
                now = problem.costs(changed)
                saved, added = costs["latency"] - now["latency"], now["damage"] - costs["damage"]
                worth = saved / max(added, 1e-12)
                if saved > 0 and (best is None or worth > best[0]):
                    best = worth, changed, now
        if best is None:
            break
        _, picks, costs = best
    return tuple(picks)


def uniform(problem: Problem) -> Picks:
    """One pass, the same level wherever that has it: of all such plans within the limit that of least damage, or where
    there is none the fastest."""
    plans = {tuple(0 for _ in problem.sites)}
    names = {(site.name.partition(":")[0], place) for site in problem.sites for place in range(1, len(site.options))}
    for name, place in names:
        plans.add(tuple(
            min(place, len(site.options) - 1) if site.name.startswith(f"{name}:") else 0 for site in problem.sites
        ))  # fmt: skip
    found = [problem.solution(plan) for plan in sorted(plans)]
    return min(found, key=lambda plan: (plan.overruns.get("latency", 0.0), plan.objective)).picks


def _simq(subjects: Subjects, name: str) -> Claim:
    arms: dict[str, Callable[[int], Figures]] = {
        "rounds": functools.partial(_rounds, subjects, name), "drawn": functools.partial(_drawn, subjects, name),
    }  # fmt: skip
    goals = [
        Goal(f"hypervolume of {ROUNDS * EACH} plans, against {DRAWN} drawn ones", "rounds.volume", "drawn.volume",
             "points", 0.0),
        Goal("Kendall's τ of damage on the plans of the third round", "rounds.tau", "0.6", "points", 0.0),
    ]  # fmt: skip
    return Claim(f"simq-{name}", f"{name}, all options of all passes, by divergence and predicted time", arms, goals)


def _rounds(subjects: Subjects, name: str, seed: int) -> Figures:
    _, known = subjects(name)
    problem, seen = _two_axes(known), list[Solution]()
    search = Evolutionary(
        measure=functools.partial(_measured, known, problem), rounds=ROUNDS, each=EACH, seed=seed, told=seen.append
    )  # fmt: skip
    search.solve(problem)
    before, third = seen[: 2 * EACH], seen[2 * EACH : 3 * EACH]
    thought = Predictor(problem, before, AXES).costs(np.array([each.picks for each in third]))[:, 0]
    tau = float(kendalltau(thought, [each.costs["damage"] for each in third]).statistic)
    return {"volume": _volume(seen, known), "tau": tau, "plans": float(len(seen))}


def _drawn(subjects: Subjects, name: str, seed: int) -> Figures:
    _, known = subjects(name)
    problem, random = _two_axes(known), np.random.default_rng(seed)
    sizes = [len(site.options) for site in problem.sites]
    plans = []
    for share in np.linspace(0, 1, DRAWN):
        picks = tuple(int(random.integers(0, size)) if random.random() < share else 0 for size in sizes)
        plans.append(problem.solution(picks).picks)
    costs = [_measured(known, problem, picks) for picks in plans]
    return {"volume": _volume([Solution(p, c, 0.0) for p, c in zip(plans, costs, strict=True)], known)}


def _two_axes(known: Weighed) -> Problem:
    base = known.planner.base.latency_ms
    return known.planner.first.problem({"damage": DAMAGE}, {"damage": 1.0, "latency": 1.0}, {"latency": base})


def _measured(known: Weighed, problem: Problem, picks: Picks) -> Mapping[Axis, float]:
    built = known.planner.built(problem, problem.solution(picks))
    return {"damage": built.raw, "latency": built.costs["latency"]}


def _volume(seen: Sequence[Solution], known: Weighed) -> float:
    """Below the damage that is allowed and the original's time, of one."""
    base = known.planner.base.latency_ms
    points = np.array([[each.costs["damage"] / DAMAGE, each.costs["latency"] / base] for each in seen])
    return hypervolume(points, np.ones(2))


def _compressor() -> Claim:
    arms: dict[str, Callable[[int], Figures]] = {"search": _students}
    goals = [Goal("multiply–accumulates of the best student found, of the best there is", "search.share", "0.99",
                  "points", 0.0)]  # fmt: skip
    return Claim(
        "compressor", "3 MB of a language model, 10,000 students of layers, widths and vocabularies", arms, goals
    )


def student_space(megabytes: float = 3.0) -> Problem:
    """Students of a code model: layers, hidden and inner widths, vocabulary; minus their work is to be least.

    bytes = 4 · (V·h + L·(4·h² + 2·h·f))        MACs a token = V·h + L·(4·h² + 2·h·f + 2·256·h)
    """
    layers, hidden = np.arange(1, 11), np.linspace(32, 320, 10).round()
    inner, words = np.linspace(64, 1216, 10).round(), np.linspace(1000, 10000, 10).round()
    axes: Any = np.meshgrid(layers, hidden, inner, words, indexing="ij")
    count, h, f, v = axes
    stored = 4 * (v * h + count * (4 * h**2 + 2 * h * f)) / 1e6
    work = (v * h + count * (4 * h**2 + 2 * h * f + 512 * h)) / 1e6
    names = ("layers", "hidden", "inner", "vocabulary")
    sites = tuple(Site(name, tuple(f"{value:g}" for value in each)) for name, each in zip(
        names, (layers, hidden, inner, words), strict=True
    ))  # fmt: skip
    scope = (0, 1, 2, 3)
    terms = (Term("size", scope, stored.astype(np.float64)), Term("latency", scope, -work.astype(np.float64)))
    return Problem(sites, terms, {"size": megabytes}, {"latency": 1.0})


def _students(seed: int) -> Figures:
    problem = student_space()
    size, work = (term.table for term in problem.terms)
    best = -float(work[size <= problem.limits["size"]].min())
    found = Evolutionary(seed=seed).solve(problem)[0]
    within = not found.overruns
    return {"share": -found.costs["latency"] / best if within else 0.0, "students": float(size.size)}
