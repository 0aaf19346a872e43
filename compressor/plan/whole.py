"""A plan built and costed as a whole; what came out is kept, the program is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.plan.parts import Parts, parts_of
from compressor.plan.problem import Picks
from compressor.plan.realize import realize, specs_of
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["Whole", "whole"]


@dataclass(frozen=True)
class Whole:
    """Parts and damage (None without data) of what a plan makes of the program, and the passes that did something."""

    parts: Parts
    damage: float | None
    specs: tuple[PassSpec, ...]


def whole(tables: Tables, picks: Picks, program: Program, context: Context, swapper: Swapper) -> Whole:
    """Build it, or read what an earlier run made of the same plan."""
    asked = specs_of(tables, picks)
    settings = [
        (spec.name, sorted((site, sorted(said.items())) for site, said in spec.sites.items())) for spec in asked
    ]
    key = f"whole {swapper.digest} {settings}"
    found = swapper.shelf.recall(key, _read)
    if found is None:
        realized = realize(tables, picks, program, context)
        parts, damage = parts_of(realized.program, context, swapper.known), swapper.damage(realized.program)
        found = parts, damage, [spec.name for spec in realized.specs]
        swapper.shelf.keep(key, {"parts": parts.to_json(), "damage": damage, "done": found[2]})
    parts, damage, done = found
    return Whole(parts, damage, tuple(spec for spec in asked if spec.name in done))


def _read(said: Any) -> tuple[Parts, float | None, list[str]]:
    damage = said["damage"]
    return Parts.from_json(said["parts"]), None if damage is None else float(damage), list(map(str, said["done"]))
