"""`--front`: every plan that is worth a thought, as recipes, a table and a plot; nothing is trained or lowered.

manifest.json what each plan is predicted to cost          front.html    a plot: time and damage, dots by bytes
plans/NN.toml its recipe: `compress MODEL --recipe plans/NN.toml` carries it out and measures it (--recover trains it)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from compressor.export.atomic import new_folder
from compressor.gate import show
from compressor.plan.front import AXES, front
from compressor.plan.planner import Built
from compressor.plan.reasons import with_reasons
from compressor.plan.solvers import choose_solver
from compressor.planning import DAMAGE, Start
from compressor.prepare import Prepared
from compressor.recipe import Recipe, dump_recipe
from compressor.report.front import Point, page
from compressor.request import Request

__all__ = ["Front", "find_front"]


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
        console.print(f"predicted; {self.reason}", soft_wrap=True, markup=False)
        if self.folder is not None:
            console.print(f"recipes, table and plot: {self.folder}", soft_wrap=True, markup=False)


def find_front(out: Path | None, request: Request, prepared: Prepared, begun: Start) -> Front:
    """Solve, and write the folder."""
    planner = begun.planner
    tables = planner.tables.weighed({name: probe.left for name, probe in planner.probes.items()})
    chosen = choose_solver(tables.problem({}, {}, {}), request.solver, seed=prepared.seed)
    problem = tables.problem({}, {}, {})
    found = [
        planner.built(problem, solution)
        for solution in planner.context.progress.over(
            front(tables, chosen.solver, DAMAGE, prepared.seed), "building plans"
        )
    ]
    built = [found[0], *(each for each in found[1:] if not any(_is_better(other, each) for other in found))]
    reason = f"{chosen.name} solver: {chosen.reason}"
    points = tuple(_point(number, each, built[0], begun.factor) for number, each in enumerate(built))
    if out is None:
        return Front(points, None, reason)
    with new_folder(out, force=request.force) as folder:
        said = {"front": [point.to_json() for point in points], "target": prepared.target.name, "solver": reason}
        (folder / "manifest.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
        (folder / "front.html").write_text(
            page(f"{prepared.name} for {prepared.target.name}", points), encoding="utf-8"
        )
        (folder / "plans").mkdir()
        for point, each in zip(points, built, strict=True):
            recipe = _recipe(point, each, request, prepared, begun)
            (folder / "plans" / f"{point.name}.toml").write_text(recipe, encoding="utf-8")
    return Front(points, out, reason)


def _is_better(one: Built, other: Built) -> bool:
    """Along one axis, and no worse along all."""
    mine, theirs = ([each.costs[axis] for axis in AXES] for each in (one, other))
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _point(number: int, built: Built, first: Built, factor: float) -> Point:
    costs, base = built.costs, first.costs
    done = sum(1 for pick in built.solution.picks if pick)
    return Point(
        f"{number:02d}", factor * costs["latency"], costs["size"], costs["damage"],
        (costs["latency"] / base["latency"] if base["latency"] else 1.0, costs["size"] / base["size"]),
        f"{done} sites" if done else "the original",
    )  # fmt: skip


def _recipe(point: Point, built: Built, request: Request, prepared: Prepared, begun: Start) -> str:
    planner, fold = begun.planner, begun.fold
    specs = with_reasons(built.specs, built.solution.picks, planner.tables, planner.measured)
    told = (
        f"compress {prepared.name}.pt --recipe {point.name}.toml\npredicted {show('latency', point.latency_ms)}, "
        f"{show('size', point.bytes)}, damage {point.damage:.3g}"
    )
    keep, halved = tuple(request.keep), prepared.halved
    return dump_recipe(Recipe((fold, *specs), prepared.target.name, prepared.seed, keep, halved=halved), told)
