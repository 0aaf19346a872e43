"""A plan carried out: the passes that the chosen options ask for, in their order, each site by site.

    fold → depth → width → rank → bits

A layer that an earlier pass has put others in the place of has them under its own name, and what is said of it holds
for them; of one that is gone the pass says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.errors import CompressError
from compressor.graph.contract import Context, Setting
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.plan.menu import Place
from compressor.plan.problem import Picks
from compressor.plan.swap import carried_out
from compressor.plan.tables import Tables

__all__ = ["Realized", "realize", "specs_of"]


@dataclass(frozen=True)
class Realized:
    """The program that a plan makes of the original, before anything is trained, and the passes that do it."""

    program: Program
    specs: tuple[PassSpec, ...]


def realize(tables: Tables, picks: Picks, program: Program, context: Context) -> Realized:
    """Carry out the picks on the program that was measured."""
    specs: list[PassSpec] = []
    for place, sites in _grouped(tables, picks):
        try:
            program, changed = carried_out(place, sites, program, context)
        except CompressError as error:
            context.progress.say(f"the plan goes on without {place.means.name}: {error}")
            continue
        if changed:
            specs.append(PassSpec(place.means.name, {}, sites, "planner"))
    return Realized(program, tuple(specs))


def specs_of(tables: Tables, picks: Picks) -> tuple[PassSpec, ...]:
    """The passes that a plan asks for, without running any."""
    return tuple(PassSpec(place.means.name, {}, sites, "planner") for place, sites in _grouped(tables, picks))


def _grouped(tables: Tables, picks: Picks) -> list[tuple[Place, dict[str, Setting]]]:
    """By pass, in order: one of its places, and what is asked at which site."""
    found: dict[str, tuple[Place, dict[str, Setting]]] = {}
    for place, numbers, pick in zip(tables.places, tables.numbers, picks, strict=True):
        if pick:
            _, sites = found.setdefault(place.means.name, (place, {}))
            sites[place.site] = place.setting(numbers[pick - 1])
    return sorted(found.values(), key=lambda item: item[0].means.order)
