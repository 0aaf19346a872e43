"""One-shot pruning: everything goes in a single cut, and the weights that stay are fitted to make up for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compressor.errors import RecipeError
from compressor.graph.contract import Option, PassResult, Setting, Skip
from compressor.graph.dimensions.removal import Removal
from compressor.passes.pruning.choose import predicted_ms, settings_of
from compressor.passes.pruning.job import NOTHING, Job
from compressor.passes.pruning.settings import parse_units

__all__ = ["as_told", "eighths", "one_shot"]


def one_shot(job: Job) -> PassResult:
    """Rank, allocate, cut."""
    ranked = job.chooser.ranked(job.dimensions, job.batches, job.context)
    kept = [Skip(name, "you asked to keep it") for name in ranked.kept]
    if not ranked.ladders:
        return job.result(job.program, [*kept, NOTHING])
    allocation, useless = job.chooser.allocation(ranked, job.target, job.context)
    removal = allocation.removal()
    program = job.slice(removal) if removal.units else job.program
    return job.result(program, [*kept, *useless], settings_of(allocation))


def as_told(job: Job, sites: Mapping[str, Setting]) -> PassResult:
    """Exactly the units that the settings name. Raises RecipeError where they leave an axis empty."""
    known = {dimension.name: dimension for dimension in job.dimensions.dimensions}
    skipped = [Skip(site, "the model has no such dimension") for site in sites if site not in known]
    found = {site: setting for site, setting in sites.items() if site in known}
    units = [unit for site, setting in found.items() for unit in parse_units(site, known[site].units, setting)]
    removal = Removal(job.dimensions, units)
    if removal.empties():
        raise RecipeError("the settings together leave an axis empty", where="prune")
    program = job.slice(removal) if units else job.program
    return PassResult(program, job.shrunk(program), tuple(skipped), found)


def eighths(job: Job) -> Iterator[Option]:
    """For every dimension, an eighth to seven eighths of its units removed."""
    ranked = job.chooser.ranked(job.dimensions, job.batches, job.context, comparable=True)
    size = job.program.unique_bytes()
    for place, one in enumerate(ranked.ladders):
        for rung in sorted({one.nearest(share / 8) for share in range(1, 8)} - {0}):
            allocation = ranked.nothing().at(place, rung)
            removal, damage = allocation.removal(), sum(ranked.scores.get(unit, 0.0) for unit in one.units(rung))
            setting = settings_of(allocation)[one.dimension.name]
            latency = predicted_ms(removal, job.context)
            level = f"−{one.rungs[rung] / len(one.order):.0%}"
            yield Option(one.dimension.name, setting, size - removal.bytes(), latency, damage, level)
