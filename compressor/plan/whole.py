"""A plan built and costed as a whole; what came out is kept, the program is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compressor.cache import write_json
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.plan.parts import Parts, parts_of
from compressor.plan.problem import Picks
from compressor.plan.realize import realize, specs_of
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["Whole", "whole"]

_FILE = "whole.json"


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
    said = _kept(swapper, key)
    if said is None:
        realized = realize(tables, picks, program, context)
        done = [spec.name for spec in realized.specs]
        parts = parts_of(realized.program, context, swapper.known)
        said = {"parts": parts.to_json(), "damage": swapper.damage(realized.program), "done": done}
        swapper.shelf.store(key, lambda folder: write_json(folder / _FILE, said))
    damage = None if said["damage"] is None else float(said["damage"])
    return Whole(Parts.from_json(said["parts"]), damage, tuple(spec for spec in asked if spec.name in said["done"]))


def _kept(swapper: Swapper, key: str) -> Mapping[str, Any] | None:
    folder = swapper.shelf.find(key)
    if folder is None:
        return None
    try:
        found: Mapping[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        Parts.from_json(found["parts"])
        return {"damage": found["damage"], "done": list(found["done"]), "parts": found["parts"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is built anew
