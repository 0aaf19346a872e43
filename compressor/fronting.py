"""`--front`: every plan that is worth a thought, as recipes, a table and a plot; nothing is trained or lowered.

manifest.json what each plan is predicted to cost          front.html    a plot: time and damage, dots by bytes
plans/NN.toml its recipe: `compress MODEL --recipe plans/NN.toml` carries it out and measures it (--recover trains it)

Where options have to be weighed, the plans are built, too. From what an earlier run has kept, another board or budget
is answered without running the network: plans that nobody built cost what the tables say, and a few that were built
tell how far those are off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from compressor.export.atomic import new_folder
from compressor.gate import show
from compressor.passlist import PassSpec
from compressor.plan.anchors import Trust, trust
from compressor.plan.evolution import undominated
from compressor.plan.front import AXES, front
from compressor.plan.planner import Planner
from compressor.plan.problem import Axis, Solution
from compressor.plan.realize import specs_of
from compressor.plan.reasons import with_reasons
from compressor.plan.solvers import choose_solver
from compressor.planning import DAMAGE
from compressor.prepare import Prepared
from compressor.recipe import Recipe, dump_recipe
from compressor.report.front import Point, page
from compressor.request import Request
from compressor.starting import Start

__all__ = ["Front", "find_front"]

SWEPT = "weighted sums, improved site by site, and NSGA-II between them"


@dataclass(frozen=True)
class Front:
    """The plans from the slowest to the fastest, and the folder that has them; no folder after a dry run."""

    points: tuple[Point, ...]
    folder: Path | None
    reason: str
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """One entry a plan; the first is the original."""
        folder = None if self.folder is None else str(self.folder)
        return {"front": [point.to_json() for point in self.points], "solver": self.reason, "folder": folder}

    def render(self, stream: TextIO) -> None:
        """The table."""
        from rich.console import Console

        from compressor.report.terminal import table

        console = Console(file=stream, highlight=False)
        rows = ([point.name, *point.cells()] for point in self.points)
        console.print(table(["plan", "latency", "", "size", "", "damage", "what"], rows, right=(1, 2, 3, 4, 5)))
        console.print(f"predicted by the {self.reason}", soft_wrap=True, markup=False)
        if self.folder is not None:
            console.print(f"recipes, table and plot: {self.folder}", soft_wrap=True, markup=False)


def find_front(out: Path | None, request: Request, prepared: Prepared, begun: Start) -> Front:
    """Solve, and write the folder."""
    planner = begun.planner
    trusted = trust(planner, DAMAGE)
    solver, how = None, SWEPT
    if request.solver != "auto":
        chosen = choose_solver(planner.weighed.problem({}, {}, {}), request.solver, seed=prepared.seed, rough=True)
        solver, how = chosen.solver, f"{chosen.name} solver: {chosen.reason}"
    found = front(planner.weighed, solver, DAMAGE, prepared.seed)
    plans = _costed(planner, found, trusted)
    points = tuple(_point(number, plan, plans[0].costs, begun.factor) for number, plan in enumerate(plans))
    reason = f"{how}; {trusted.told()}"
    if out is None:
        return Front(points, None, reason)
    with new_folder(out, force=request.force) as folder:
        said = {"front": [point.to_json() for point in points], "target": prepared.target.name, "solver": reason}
        (folder / "manifest.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
        (folder / "front.html").write_text(
            page(f"{prepared.name} for {prepared.target.name}", points), encoding="utf-8"
        )
        (folder / "plans").mkdir()
        for point, each in zip(points, plans, strict=True):
            recipe = _recipe(point, each, request, prepared, begun)
            (folder / "plans" / f"{point.name}.toml").write_text(recipe, encoding="utf-8")
    return Front(points, out, reason)


@dataclass(frozen=True)
class _Costed:
    """A plan with what it costs: as it was built, or as it is thought."""

    solution: Solution
    costs: Mapping[Axis, float]
    specs: tuple[PassSpec, ...]
    built: bool


def _costed(planner: Planner, found: Sequence[Solution], trusted: Trust) -> list[_Costed]:
    """Built, where the network has to be run in any case or an earlier run did it: first the original, then those that
    no other is better than along one axis, and no worse along all."""
    problem = planner.weighed.problem({}, {}, {})
    plans = [_Costed(each.solution, each.costs, each.specs, built=True) for each in trusted.built]
    known = {each.solution.picks for each in trusted.built}
    for solution in planner.context.progress.over([each for each in found if each.picks not in known], "costing plans"):
        run = planner.swapper.ran or not any(solution.picks)
        built = (planner.built if run else planner.recalled)(problem, solution)
        if built is None:
            specs = specs_of(planner.tables, solution.picks)
            plans.append(_Costed(solution, trusted.costs(solution.costs), specs, built=False))
        else:
            plans.append(_Costed(solution, built.costs, built.specs, built=True))
    [original] = [plan for plan in plans if not any(plan.solution.picks)]
    better = [plan for plan in undominated(plans, AXES) if plan is not original]
    return [original, *sorted(better, key=lambda plan: -plan.costs["latency"])]


def _point(number: int, plan: _Costed, base: Mapping[Axis, float], factor: float) -> Point:
    costs, done = plan.costs, sum(1 for pick in plan.solution.picks if pick)
    what = f"{done} sites" if done else "the original"
    return Point(
        f"{number:02d}", factor * costs["latency"], costs["size"], costs["damage"],
        (costs["latency"] / base["latency"] if base["latency"] else 1.0, costs["size"] / base["size"]),
        what if plan.built else f"{what}, not built",
    )  # fmt: skip


def _recipe(point: Point, plan: _Costed, request: Request, prepared: Prepared, begun: Start) -> str:
    planner, fold = begun.planner, begun.fold
    specs = with_reasons(plan.specs, plan.solution.picks, planner.tables, planner.measured)
    told = (
        f"compress {prepared.name}.pt --recipe {point.name}.toml\npredicted {show('latency', point.latency_ms)}, "
        f"{show('size', point.bytes)}, damage {point.damage:.3g}"
    )
    keep, halved = tuple(request.keep), prepared.halved
    return dump_recipe(Recipe((fold, *specs), prepared.target.name, prepared.seed, keep, halved=halved), told)
