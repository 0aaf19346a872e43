"""What could be done, and where: several ranks a layer, with bytes, predicted time and damage.

Pairs of thin layers at each eighth of the weights, and for linear layers of whole blocks, at each quarter, a butterfly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compressor.graph.contract import Batch, Context, Option, Setting
from compressor.graph.program import Program
from compressor.passes.factorizing.choose import butterfly_of
from compressor.passes.factorizing.ranks import pair_rank
from compressor.passes.factorizing.read import read
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.solve import losses
from compressor.passes.factorizing.times import Times, predict_times

__all__ = ["offers"]

EIGHTHS = range(1, 8)
_BYTES = 4  # of a float32, which all sites are
Step = dict[str, Choice]  # by site


def offers(
    program: Program, sites: Sequence[Site], usual: Choice, batches: Sequence[Batch], context: Context
) -> Iterator[Option]:
    """Pairs that hold an eighth to seven eighths of the weights, then butterflies; `usual` says by which method.

    The damage is the relative error of the layer's outputs (of its weights without data), the latency the whole
    program's with that layer alone changed.
    """
    steps = _steps(sites, usual, context.target.width_multiple)
    times = [predict_times(program, step, context) for step in steps]
    for site, known, damages in _weighed(program, sites, steps, times, usual, batches, context):
        for choice, damage in zip(known, damages, strict=True):
            size = _BYTES * site.shape.weights(choice)
            stays = size / (_BYTES * site.shape.dense)
            wish = None if choice.blocks or choice.inner else _share(choice, stays, context.target.width_multiple)
            level = f"butterfly {stays:.0%}" if choice.blocks else f"rank {stays:.0%}"
            yield Option(site.name, choice.setting(), size, known[choice].whole(site.name), damage, level, wish)


def _weighed(
    program: Program, sites: Sequence[Site], steps: Sequence[Step], times: Sequence[Times], usual: Choice,
    batches: Sequence[Batch], context: Context,
) -> Iterator[tuple[Site, dict[Choice, Times], Sequence[float | None]]]:  # fmt: skip
    """A site's choices with their times, and their damage where anybody asks for it."""
    known = {site.name: _known(site, steps, times) for site in sites}
    if context.unweighed:
        yield from ((site, known[site.name], [None] * len(known[site.name])) for site in sites)
        return
    given = batches if usual.asks_for_inputs else ()
    for site, seen in read(program, sites, given, context.progress, what="measuring ranks"):
        yield site, known[site.name], losses(program, site, list(known[site.name]), seen)


def _share(choice: Choice, stays: float, multiple: int) -> Setting:
    """As much of the weights as a rank leaves, rounded so that the same rank comes back."""
    said = {k: v for k, v in choice.setting().items() if k != "rank"}
    return {**said, "share": round(stays + 5e-5, 4), "multiple": multiple}


def _steps(sites: Sequence[Site], usual: Choice, multiple: int) -> list[Step]:
    """What every layer becomes at each share of its weights, as a pair and, every other time, as a butterfly."""
    pairs: list[Step] = []
    for eighth in EIGHTHS:
        pairs.append({s.name: replace(usual, rank=pair_rank(s.shape, eighth / 8, multiple)) for s in sites})
    found = []
    for pair in pairs[1::2]:
        flat = {site.name: butterfly_of(site, pair[site.name], multiple) for site in sites}
        found.append({name: choice for name, choice in flat.items() if choice is not None})
    return [*pairs, *found]


def _known(site: Site, steps: Sequence[Step], times: Sequence[Times]) -> dict[Choice, Times]:
    """A site's choices that hold fewer weights than it does, each once: pairs first, then by their weights."""
    known = {step[site.name]: time for step, time in zip(steps, times, strict=True) if site.name in step}
    fewer = [choice for choice in known if site.shape.weights(choice) < site.shape.dense]
    return {choice: known[choice] for choice in sorted(fewer, key=lambda c: (c.blocks > 0, site.shape.weights(c)))}
