"""A plan built and costed as a whole; what came out is kept, the program is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compressor.passlist import PassSpec
from compressor.plan.parts import Parts, Sketch, sketched
from compressor.plan.problem import Picks
from compressor.plan.realize import realize, specs_of
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["Whole", "plan_key", "recalled", "whole"]


@dataclass(frozen=True)
class Whole:
    """Parts and damage (None without data) of what a plan makes of the program, and the passes that did something."""

    parts: Parts
    damage: float | None
    specs: tuple[PassSpec, ...]


def whole(tables: Tables, picks: Picks, swapper: Swapper) -> Whole:
    """Build it, or read what an earlier run made of the same plan."""
    found = recalled(tables, picks, swapper)
    if found is not None:
        return found
    realized = realize(tables, picks, swapper.program, swapper.making)
    sketch, damage, done = (
        sketched(realized.program), swapper.damage(realized.program), [spec.name for spec in realized.specs]
    )  # fmt: skip
    asked = specs_of(tables, picks)
    said = {"sketch": swapper.differences.written(sketch), "damage": damage, "done": done}
    swapper.shelf.keep(plan_key(asked, swapper), said)
    return _whole(asked, sketch, damage, done, swapper)


def recalled(tables: Tables, picks: Picks, swapper: Swapper) -> Whole | None:
    """What an earlier run made of the same plan, for whatever board."""
    asked = specs_of(tables, picks)
    found = swapper.shelf.recall(plan_key(asked, swapper), lambda said: _read(said, swapper))
    return None if found is None else _whole(asked, *found, swapper)


def plan_key(asked: Sequence[PassSpec], swapper: Swapper) -> str:
    """What a plan of the swapper's program is called on its shelf."""
    settings = [
        (spec.name, sorted((site, sorted(said.items())) for site, said in spec.sites.items())) for spec in asked
    ]
    reads = sorted({spec.name: spec.build().reads(swapper.making.target) for spec in asked}.items())
    return f"whole {swapper.digest} {settings} {reads}"


def _whole(
    asked: Sequence[PassSpec], sketch: Sketch, damage: float | None, done: Sequence[str], swapper: Swapper
) -> Whole:  # fmt: skip
    return Whole(swapper.parts(sketch), damage, tuple(spec for spec in asked if spec.name in done))


def _read(said: Any, swapper: Swapper) -> tuple[Sketch, float | None, list[str]]:
    damage = None if said["damage"] is None else float(said["damage"])
    return swapper.differences.read(said["sketch"]), damage, list(map(str, said["done"]))
