"""Which units make a group, by the options or by a recipe's sites, and how a group is carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.dropping.candidates import Candidate, candidates_of
from compressor.passes.sharing.clusters import Groups, grouped
from compressor.passes.sharing.settings import Told, parse_told
from compressor.passes.sharing.similarity import alike
from compressor.passes.sharing.together import write_together
from compressor.passes.sharing.units import Norms, Part, Unit, find_units
from compressor.passes.sharing.values import MEAN, MERGED, Grams, given

__all__ = ["Asked", "as_told", "carry_out", "others_of", "planned"]

NEEDS_DATA = "cka compares what blocks compute on calibration data"


@dataclass(frozen=True)
class Asked:
    """The options that say who shares with whom; `size` 0 is all of a chain."""

    size: int
    groups: Groups
    part: Part
    norms: Norms
    keep: tuple[str, ...]


def planned(program: Program, asked: Asked, batches: Sequence[Batch]) -> tuple[list[list[Unit]], list[Skip]]:
    """The groups of two units and more. Raises RecipeError where `groups=cka` has no data."""
    chains, skips = find_units(program, asked.part, asked.norms, asked.keep)
    found: list[list[Unit]] = []
    for units in chains:
        if asked.groups == "cka" and not batches:
            raise RecipeError(NEEDS_DATA, where="share", way_out="Add --data, or take groups=pairs.")

        def near(units: Sequence[Unit] = units) -> list[float]:
            return alike(program, [unit.block.exit for unit in units], batches)

        size = asked.size or len(units)
        clusters = grouped(asked.groups, len(units), size, near) if units else []
        for cluster in clusters:
            members = [units[place] for place in cluster]
            if len(members) > 1:
                found.append(members)
            else:
                skips.append(Skip(members[0].name, "a group of its own"))
    return found, skips


def as_told(
    program: Program, sites: Mapping[str, Setting], keep: Sequence[str]
) -> tuple[list[tuple[list[Unit], Told]], list[Skip]]:
    """The groups that a recipe names."""
    found: list[tuple[list[Unit], Told]] = []
    skips: list[Skip] = []
    for site, setting in sites.items():
        told = parse_told(site, setting)
        chains, _ = find_units(program, told.part, told.norms, keep)
        units = {unit.name: unit for chain in chains for unit in chain}
        absent = [name for name in told.units if name not in units]
        together = any(set(told.units) <= {unit.name for unit in chain} for chain in chains)
        if absent or not together:
            reason = f"{absent[0]} is not there, or is to be kept" if absent else "these are not alike"
            skips.append(Skip(site, reason))
        else:
            found.append(([units[name] for name in told.units], told))
    return found, skips


def carry_out(program: Program, units: Sequence[Unit], told: Told, grams: Grams) -> list[str] | str:
    """Rewrite this (copied) program; the parameters that are another's now, or why nothing was done."""
    if told.weights not in (MEAN, MERGED, *told.units):
        return f"{told.weights} is none of the group"
    made = given(program, units, told.weights, grams)
    write_together(program, units, made.of, made.values)
    return [*made.values, *(name for unit in units if unit is not made.of for name in unit.shared)]


def others_of(program: Program, units: Sequence[Unit], told: Told) -> list[Candidate] | str:
    """The blocks of a group that go when one stands for all, or why they cannot."""
    if told.weights not in told.units:
        return f"{told.weights} is none of the group"
    found, skips = candidates_of(program, "block")
    known, reasons = {each.site: each for each in found}, {skip.site: skip.reason for skip in skips}
    names = [unit.block.name for unit in units if unit.name != told.weights]
    absent = next((name for name in names if name not in known), None)
    if absent is not None:
        return f"{absent} has to stay: {reasons.get(absent, 'it is no block')}"
    return [known[name] for name in names]
