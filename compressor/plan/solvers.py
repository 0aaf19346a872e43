"""The solvers behind one interface, and which of them takes a problem when nobody says.

exact      options + table entries ≤ 200,000                 proves that nothing is better
evolution  where plans are measured as wholes                tables alone do not tell what they cost
gradient   what is larger                                    time grows with the entries alone
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

from compressor.errors import InputError, did_you_mean
from compressor.plan.evolution import Evolutionary, Measure
from compressor.plan.exact import ROUGH, Exact
from compressor.plan.gradient import Gradient
from compressor.plan.problem import Picks, Problem, Solution

__all__ = ["EVOLUTION", "Chosen", "Solver", "SolverName", "check_solver", "choose_solver"]

SolverName = Literal["auto", "exact", "evolution", "gradient"]
EVOLUTION: SolverName = "evolution"
ENTRIES = 200_000  # options and entries of tables that HiGHS takes in seconds


class Solver(Protocol):
    """What answers a problem."""

    def solve(self, problem: Problem, count: int = 1, apart: int = 1) -> list[Solution]:
        """The best plans, the best first; each differs from all before it in `apart` sites at least. Where budgets
        cannot be met, what comes closest: never nothing."""


@dataclass(frozen=True)
class Settled:
    """Of a problem without sites, which programs and populations cannot be made of, the only plan."""

    def solve(self, problem: Problem, count: int = 1, apart: int = 1) -> list[Solution]:
        """As `Solver`."""
        return [replace(problem.solution(()), proven=True)]


@dataclass(frozen=True)
class Chosen:
    """A solver, and why it was taken."""

    name: str
    solver: Solver
    reason: str


def choose_solver(
    problem: Problem, name: str = "auto", *, measure: Measure | None = None, seed: int = 0,
    starts: tuple[Picks, ...] = (), rough: bool = False, over: Callable[[], bool] = lambda: False,
) -> Chosen:  # fmt: skip
    """The one of that name, or what the space's size asks for; `starts` are plans that evolution begins with, `rough`
    asks for plans near the best, of which many are wanted; nothing is measured once the time is `over`. Raises
    InputError for a name that is none."""
    check_solver(name)
    if not problem.sites:
        return Chosen("exact", Settled(), "there is nothing to choose")
    entries, space = _entries(problem), _told(problem)
    if name == EVOLUTION or (name == "auto" and measure is not None):
        why = "plans are measured as wholes" if measure is not None else f"asked for; {space}"
        return Chosen(EVOLUTION, Evolutionary(measure=measure, seed=seed, starts=starts, over=over), why)
    if name == "exact" or (name == "auto" and entries <= ENTRIES):
        solver, why = (Exact(gap=ROUGH), "come near the best") if rough else (Exact(), "prove the best")
        return Chosen("exact", solver, f"{space} in {entries:,} numbers: few enough to {why}")
    return Chosen("gradient", Gradient(seed=seed), f"{space} in {entries:,} numbers: more than an exact solver takes")


def check_solver(name: str) -> None:
    """Raises InputError for a name that is none."""
    if name not in get_args(SolverName):
        raise InputError(f"there is no solver {name!r}", way_out=did_you_mean(name, list(get_args(SolverName))))


def _entries(problem: Problem) -> int:
    scopes = {term.scope: term.table.size for term in problem.terms if len(term.scope) > 1}
    return sum(len(site.options) for site in problem.sites) + sum(scopes.values())


def _told(problem: Problem) -> str:
    space = problem.space
    return f"{space:.0f} plans" if space < 1e4 else f"{space:.1e} plans of {len(problem.sites)} sites"
