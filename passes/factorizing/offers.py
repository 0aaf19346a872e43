"""What could be done, and where: several ranks a layer, with bytes, predicted time and damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compressor.graph.contract import Batch, Context, Option
from compressor.graph.program import Program
from compressor.passes.factorizing.choose import surveyed
from compressor.passes.factorizing.ranks import pair_rank
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.times import predict_times

__all__ = ["offers"]

EIGHTHS = range(1, 8)
_BYTES = 4  # of a float32, which all sites are


def offers(
    program: Program, sites: Sequence[Site], usual: Choice, batches: Sequence[Batch], context: Context
) -> Iterator[Option]:
    """Pairs that hold an eighth to seven eighths of the weights; `usual` says by which method.

    The damage is the relative error of the layer's outputs (of its weights without data), the latency the whole
    program's with that layer alone changed.
    """
    multiple = context.target.width_multiple
    ranks = {site.name: [pair_rank(site.shape, eighth / 8, multiple) for eighth in EIGHTHS] for site in sites}
    steps = [{name: replace(usual, rank=every[step]) for name, every in ranks.items()} for step in range(len(EIGHTHS))]
    times = [predict_times(program, step, context) for step in steps]
    for site, spectrum in surveyed(program, sites, batches if usual.asks_for_inputs else (), context):
        known = {each[site.name].rank: (each[site.name], time) for each, time in zip(steps, times, strict=True)}
        for rank, (choice, time) in sorted(known.items()):
            if rank <= site.shape.break_even:
                size = _BYTES * site.shape.weights(choice)
                yield Option(site.name, choice.setting(), size, time.whole(site.name), spectrum.error(rank))
