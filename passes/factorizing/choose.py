"""Which layers get which ranks: by the share of weights that stays, by energy, or by what the target runs faster.

    ratio     r = ⌊keep · m·n / (m + n)⌋                     in every layer
    energy    the least r with Σ_{k ≤ r} σ_k² ≥ energy · Σ σ_k²      (`svd.py`: of the outputs where there are data)
    latency   the least damage per predicted time saved (`allocate.py`), until the share of all weights is gone

A rank that holds as many weights as the layer does is declined, and where the target's objective is latency, one that
the latency model says takes no less time: in float32, for a pass is not told which formats follow, and a note says so.
A convolution may become Tucker-2 with as many weights instead: what of the two is left is compared on data when it is
solved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from compressor.graph.contract import Batch, Context, Skip
from compressor.graph.program import Program
from compressor.passes.factorizing.allocate import Rung, allocate
from compressor.passes.factorizing.butterfly import BLOCK
from compressor.passes.factorizing.ranks import flat_twin, ladder, pair_rank, twin
from compressor.passes.factorizing.read import read
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.solve import spectrum_of
from compressor.passes.factorizing.svd import Spectrum
from compressor.passes.factorizing.times import Times, predict_times
from compressor.passes.quantizing.sites import rank as dims

__all__ = ["IN_FLOAT", "Chosen", "Form", "RankBy", "Wish", "butterfly_of", "choose", "surveyed"]

IN_FLOAT = (
    "times were compared in float32, as the layers are: a number format after this changes them, and what thin layers "
    "gain in it was not predicted"
)
RankBy = Literal["ratio", "energy", "latency"]
Form = Literal["auto", "pair", "tucker", "butterfly"]


@dataclass(frozen=True)
class Wish:
    """What the options ask for; `usual` has the method and whether to refit."""

    amount: float
    rank: RankBy
    energy: float
    form: Form
    slower: bool
    usual: Choice


@dataclass
class Chosen:
    """By site what it may become, best guess first, why others stay as they are, and what decided."""

    choices: dict[str, list[Choice]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def choose(program: Program, sites: Sequence[Site], wish: Wish, batches: Sequence[Batch], context: Context) -> Chosen:
    """What a functional program's sites may become."""
    chosen = Chosen()
    multiple = context.target.width_multiple
    pairs = _pairs(program, sites, wish, batches, context)
    twins: dict[str, Choice] = {}
    for site in sites:
        rank = pairs.get(site.name, 0)
        pair = replace(wish.usual, rank=rank)
        if not rank:
            chosen.skipped.append(Skip(site.name, "no rank is worth what it would save"))
        elif rank > site.shape.break_even:
            most = f"up to rank {site.shape.break_even}" if site.shape.break_even else "with no rank"
            chosen.skipped.append(Skip(site.name, f"rank {rank} would hold as many weights: two layers save {most}"))
        else:
            chosen.choices[site.name] = [pair]
            other = _other(site, pair, wish.form, multiple)
            if other is not None:
                twins[site.name] = other
            elif wish.form == "butterfly":
                del chosen.choices[site.name]
                chosen.skipped.append(Skip(site.name, _no_butterfly(site)))
    _restrict(program, chosen, twins, wish, context)
    timed = wish.rank == "latency" or (context.target.objective == "latency" and not wish.slower)
    chosen.notes = (IN_FLOAT,) if timed and pairs and context.latency is not None else ()
    return chosen


def surveyed(
    program: Program, sites: Sequence[Site], batches: Sequence[Batch], context: Context
) -> Iterator[tuple[Site, Spectrum]]:
    """Each site's spectrum, weighed by what it reads in the program as it is where there are batches."""
    for site, seen in read(program, sites, batches, context.progress, what="measuring ranks"):
        yield site, spectrum_of(program, site, seen)


def _pairs(
    program: Program, sites: Sequence[Site], wish: Wish, batches: Sequence[Batch], context: Context
) -> dict[str, int]:
    """The rank of each site's two layers."""
    multiple = context.target.width_multiple
    if wish.rank == "ratio":
        return {site.name: pair_rank(site.shape, 1 - wish.amount, multiple) for site in sites}
    given = batches if wish.usual.asks_for_inputs else ()
    if wish.rank == "energy":
        found = {}
        for site, spectrum in surveyed(program, sites, given, context):
            least = spectrum.rank_of(wish.energy)
            whole = math.ceil(least / multiple) * multiple if least > multiple else least
            found[site.name] = min(whole, site.shape.full)
        return found
    return _by_latency(program, sites, wish, given, context)


def _by_latency(
    program: Program, sites: Sequence[Site], wish: Wish, batches: Sequence[Batch], context: Context
) -> dict[str, int]:
    ladders = {site.name: ladder(site.shape, context.target.width_multiple) for site in sites}
    times: dict[tuple[str, int], float] = {}
    for step in range(max(map(len, ladders.values()), default=0)):
        ranks = {name: ranks[step] for name, ranks in ladders.items() if step < len(ranks)}
        predicted = _times(program, {n: replace(wish.usual, rank=rank) for n, rank in ranks.items()}, context)
        times |= {(name, 0): ms for name, ms in predicted.before.items()}
        times |= {(name, rank): predicted.after[name] for name, rank in ranks.items() if name in predicted.after}
    rungs: dict[str, list[Rung]] = {}
    for site, spectrum in surveyed(program, sites, batches, context):
        rungs[site.name] = [Rung(0, times.get((site.name, 0), float(site.shape.dense)), site.shape.dense, 0.0)]
        for rank in ladders[site.name]:
            weights = site.shape.weights(Choice(rank))
            cost = times.get((site.name, rank), float(weights))
            rungs[site.name].append(Rung(rank, cost, weights, spectrum.error(rank) ** 2))
    total = sum(site.shape.dense for site in sites)
    return {name: rung.rank for name, rung in allocate(rungs, (1 - wish.amount) * total).items()}


def _other(site: Site, pair: Choice, form: Form, multiple: int) -> Choice | None:
    """What it may become with as many weights as the pair."""
    if form == "butterfly":
        return butterfly_of(site, pair, multiple)
    return twin(site.shape, pair, multiple) if form != "pair" else None


def butterfly_of(site: Site, pair: Choice, multiple: int) -> Choice | None:
    """Blocks and low rank with as many weights as the pair at most; None where it cannot be."""
    return flat_twin(site.shape, pair, multiple) if _multiplies(site) else None


def _multiplies(site: Site) -> bool:
    """Whether it is a linear layer of rows."""
    return site.kind in ("linear", "matmul") and all(dims(site.layer(node).data(node)) > 1 for node in site.nodes)


def _no_butterfly(site: Site) -> str:
    if not _multiplies(site):
        return "a butterfly takes the place of linear layers alone"
    if not site.shape.blocked:
        return f"its {site.shape.outputs} × {site.shape.inputs} weights are no whole blocks of {BLOCK}"
    return "too small for form=butterfly: a block in each row and rank 1 would hold more weights"


def _times(program: Program, choices: Mapping[str, Choice], context: Context) -> Times:
    """Nothing where bytes decide."""
    return predict_times(program, choices, context) if context.target.objective == "latency" else Times()


def _restrict(program: Program, chosen: Chosen, twins: Mapping[str, Choice], wish: Wish, context: Context) -> None:
    """Drop what the target does not run faster, and the form that is not wanted."""
    pairs = {name: choices[0] for name, choices in chosen.choices.items()}
    slow = Times() if wish.slower else _times(program, pairs, context)
    slow_twins = Times() if wish.slower else _times(program, twins, context)
    for name, pair in pairs.items():
        forced = wish.form in ("tucker", "butterfly") and name in twins
        left = [pair] if slow.faster(name) and not forced else []
        if name in twins and slow_twins.faster(name):
            left.append(twins[name])
        if left:
            chosen.choices[name] = left
            continue
        del chosen.choices[name]
        other = slow_twins if forced else slow
        what = (twins[name] if other is slow_twins else pair).told()
        chosen.skipped.append(Skip(name, f"{what} is predicted to take no less time: {other.told(name)}"))
