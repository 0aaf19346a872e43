"""Puts the units of every dimension in the order of their worth, so that an entry has the first rows of each tensor.

    x[π₀ of axis 0, π₁ of axis 1, …]      for every stored tensor, the same units' rows moved alike: y does not change

The program computes what it did, its sums in another order. That is tried: a dimension whose units have places of their
own (positions that are written into the graph) stays as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compressor.graph.contract import Batch
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.dimensions.labels import Vector
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.widths import Ladder

__all__ = ["ordered"]

EXACT = 1e-4  # relative root-mean-square: float32 sums in another order


def ordered(ranked: Ranked, sites: Collection[str], batches: Sequence[Batch]) -> Ranked:
    """The same of a program where the units of these dimensions are in order, the most important first, and nothing but
    them is ranked; where none can be moved, of the program as it is."""
    program, moved = ranked.dimensions.program, [one for one in ranked.ladders if one.dimension.name in sites]
    ranked = replace(ranked, ladders=moved)
    batch = batches[0] if batches else dict(zip((spec.name for spec in program.inputs), program.example, strict=True))
    before = program.run(batch)
    if not _same(before, permuted(ranked.dimensions, moved).run(batch)):
        moved = [one for one in moved if _same(before, permuted(ranked.dimensions, [one]).run(batch))]
        if not _same(before, permuted(ranked.dimensions, moved).run(batch)):
            moved = []
    if not moved:
        return ranked
    names = {one.dimension.name for one in moved}
    dimensions = analyse(permuted(ranked.dimensions, moved))
    alike = {one.name: one for one in dimensions.dimensions}
    ladders = []
    for one in ranked.ladders:
        units = alike[one.dimension.name].units
        places = {unit: place for place, unit in enumerate(one.dimension.units)}
        order = reversed(units) if one.dimension.name in names else [units[places[unit]] for unit in one.order]
        ladders.append(Ladder(alike[one.dimension.name], tuple(order), one.rungs))
    return replace(ranked, dimensions=dimensions, ladders=ladders, scores={})


def permuted(dimensions: Dimensions, ladders: Sequence[Ladder]) -> Program:
    """The program with the units of these ladders in descending order; tied names share one tensor."""
    source = {
        unit: wanted for one in ladders for unit, wanted in zip(one.dimension.units, reversed(one.order), strict=True)
    }
    copy, fresh = begin(dimensions.program), dict[int, Tensor]()
    for name, axes in dimensions.tensors.items():
        value = new = copy.get(name).detach()
        if id(axes) not in fresh:
            for axis, vector in enumerate(axes):
                rows = None if vector is None else _rows(dimensions, vector, source)
                if rows is not None:
                    new = new.index_select(axis, torch.tensor(rows))
            fresh[id(axes)] = new
        if fresh[id(axes)] is not value:
            set_tensor(copy, name, fresh[id(axes)])
    return finish(copy)


def _rows(dimensions: Dimensions, vector: Vector, source: Mapping[int, int]) -> list[int] | None:
    """For each row of an axis, the row that takes its place; None where all stay.

    A row may go with several units, a head and a place within all heads; of several with the same units each takes the
    place of its like, in their order.
    """
    labels = dimensions.walk.labels
    units = [tuple(labels.atoms(handle)) for handle in dimensions.resolved(vector).tolist()]
    places: dict[frozenset[int], list[int]] = defaultdict(list)
    for row, atoms in enumerate(units):
        places[frozenset(atoms)].append(row)
    seen: dict[frozenset[int], int] = defaultdict(int)
    found = []
    for row, atoms in enumerate(units):
        key, wanted = frozenset(atoms), frozenset(source.get(atom, atom) for atom in atoms)
        number = seen[key]
        seen[key] += 1
        found.append(places[wanted][number] if number < len(places.get(wanted, ())) else row)
    return None if found == list(range(len(found))) or len(set(found)) < len(found) else found


def _same(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    pairs = [(value.double(), after[name].double()) for name, value in before.items()]
    return all(float((a - b).norm()) <= EXACT * max(float(a.norm()), 1e-12) for a, b in pairs)
