"""Solver time and memory as sites grow: 10 to 10,000 of 20 options each, two budgets.

    python benchmarks/plan_scaling.py [--only exact …] [--sites 10 100 1000 10000] [--again]

Options that cost less do more damage, by chance; `pairs`: every site also costs something together with the next one.
A cell is a process of its own, which tells its largest resident memory. Goals: 1,000 sites within 10 s, and ten times
the sites at most fifteen times the time from there on (nearly linear).
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from cells import Cells, arguments

from compressor.plan.problem import Problem, Site, Term

__all__ = ["goals", "problem", "table"]

OPTIONS, SECONDS, TIMES = 20, 10.0, 15.0
SOLVERS = ("exact", "exact pairs", "evolution", "gradient")


def problem(sites: int, seed: int = 0, *, pairs: bool = False) -> Problem:
    """Half the time and six tenths of the bytes."""
    random = np.random.default_rng(seed)
    names = tuple(f"o{number}" for number in range(OPTIONS))
    terms = []
    for index in range(sites):
        latency = np.sort(random.uniform(0.1, 1.0, OPTIONS))[::-1]
        damage = np.sort(random.exponential(1.0, OPTIONS))
        damage[0] = 0.0
        size = latency * random.uniform(0.5, 1.5, OPTIONS)
        terms += [Term("latency", (index,), latency), Term("damage", (index,), damage), Term("size", (index,), size)]
        if pairs and index + 1 < sites:
            differ = 1.0 - np.eye(OPTIONS)
            terms.append(Term("latency", (index, index + 1), 0.05 * differ))
    all_sites = tuple(Site(f"s{index}", names) for index in range(sites))
    whole = Problem(all_sites, tuple(terms)).costs((0,) * sites)
    return Problem(all_sites, tuple(terms), {"latency": 0.5 * whole["latency"], "size": 0.6 * whole["size"]})


def main() -> int:
    parser = arguments(str(__doc__), SOLVERS, "1h")
    parser.add_argument("--sites", nargs="+", type=int, default=[10, 100, 1000, 10000])
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    cells = Cells("plan_scaling", options.budget)
    for name in options.only:
        for sites in options.sites:
            cells.measure(f"{name} {sites}", lambda name=name, sites=sites: _alone(name, sites), options.again)  # type: ignore[misc]
    print(table(cells))
    found = goals(cells)
    for text, met in found.items():
        print(f"{'met' if met else 'MISSED'}: {text}")
    return 0 if all(found.values()) else 1


def _alone(name: str, sites: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_solve, args=(name, sites, theirs))
    process.start()
    theirs.close()
    found: dict[str, Any] = ours.recv()
    process.join()
    return found


def _solve(name: str, sites: int, pipe: Any) -> None:
    from compressor.plan.solvers import choose_solver

    asked = problem(sites, pairs=name.endswith("pairs"))
    chosen = choose_solver(asked, name.partition(" ")[0])
    before = time.perf_counter()
    [solution, *_] = chosen.solver.solve(asked)
    seconds = time.perf_counter() - before
    pipe.send(
        {
            "solve_s": seconds, "objective": solution.objective, "over": sum(solution.overruns.values()),
            "proven": solution.proven, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )  # fmt: skip


def goals(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Of the exact solver."""
    found = {}
    if "exact 1000" in cells:
        seconds = cells["exact 1000"]["solve_s"]
        found[f"1,000 sites of {OPTIONS} options in {seconds:.1f} s (goal {SECONDS:.0f})"] = seconds <= SECONDS
    if {"exact 1000", "exact 10000"} <= set(cells):
        times = cells["exact 10000"]["solve_s"] / cells["exact 1000"]["solve_s"]
        found[f"10,000 sites take {times:.1f} times as long (goal {TIMES:.0f})"] = times <= TIMES
    return found


def table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a cell."""
    lines = ["| solver, sites | seconds | objective | MB |", "|---" * 4 + "|"]
    for key, cell in cells.items():
        lines.append(f"| {key} | {cell['solve_s']:.2f} | {cell['objective']:.5g} | {cell['peak_mb']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
