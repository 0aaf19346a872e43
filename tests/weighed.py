"""Problems for the planner's solvers, and the digits network with everything weighed that could be done to it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from boards import board
from recovery import digits_batches, digits_program

from compressor.cache import Cache, Shelf
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.plan.menu import Place, collect
from compressor.plan.problem import Axis, Problem, Site, Solution, Term
from compressor.plan.swap import Measured, Swapper

__all__ = ["Weighed", "best_of_all", "random_problem", "weighed"]


def random_problem(
    sites: int, options: int, seed: int, pairs: int = 0, limits: Mapping[Axis, float] | None = None
) -> Problem:
    """Options that cost less do more damage; `pairs` of sites cost something more together. `limits` are shares of
    what it costs to leave everything as it is."""
    random = np.random.default_rng(seed)
    names = tuple(f"o{number}" for number in range(options))
    found = tuple(Site(f"s{index}", names) for index in range(sites))
    terms = []
    for index in range(sites):
        latency = np.sort(random.uniform(0.1, 1.0, options))[::-1]
        damage = np.sort(random.exponential(1.0, options))
        damage[0] = 0.0
        size = latency * random.uniform(0.5, 1.5, options)
        terms += [Term("latency", (index,), latency), Term("damage", (index,), damage), Term("size", (index,), size)]
    for _ in range(pairs):
        one, other = sorted(int(each) for each in random.choice(sites, 2, replace=False))
        terms.append(Term("latency", (one, other), random.uniform(0.0, 0.5, (options, options))))
    whole = Problem(found, tuple(terms)).costs((0,) * sites)
    shares = {"latency": 0.6, "size": 0.7} if limits is None else limits
    return Problem(found, tuple(terms), {axis: share * whole[axis] for axis, share in shares.items()})


def best_of_all(problem: Problem) -> Solution:
    """By trying every plan."""
    plans = itertools.product(*(range(len(site.options)) for site in problem.sites))
    return min((problem.solution(plan) for plan in plans), key=lambda solution: solution.rank)


@dataclass(frozen=True)
class Weighed:
    """A program and all that is known of its options."""

    program: Program
    context: Context
    swapper: Swapper
    places: list[Place]
    measured: Measured


@functools.cache
def weighed() -> Weighed:
    """The folded digits network on a board of round numbers."""
    batches = digits_batches()
    context = Context(board(), latency=Roofline(), calibration=batches, training=batches, synthetic=False)
    original = digits_program()
    program = Fold().run(original, context).program
    context = Context(
        board(), latency=Roofline(), calibration=batches, training=batches, synthetic=False, teacher=original
    )
    shelf = Shelf(Cache(Path(os.environ["SHARED_BY_WORKERS"]) / "weighed"), "test")  # the first worker weighs
    places = collect(program, context, {"latency"}, shelf=shelf)
    swapper = Swapper(program, context, shelf)
    return Weighed(program, context, swapper, places, swapper.measure(places))
