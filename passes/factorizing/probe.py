"""Rank sensitivity: how far the network's outputs go when one matrix alone is of low rank, at its own shape.

    W_ρ = the cut of W at rank r = ⌊ρ · min(m, n)⌋        error = ‖y − ŷ‖ / ‖y‖ over the outputs, all else as it was

LASER's probe (Sharma et al., 2023, arXiv:2312.13558) without its search: a table that ranks can be planned by. Bytes
are those of the two layers that would take the matrix's place. The cut is the plain one, or the one that loses the
least on calibration data, with the bias that goes with it, as `factorize` would make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.factorizing.ranks import Shape
from compressor.passes.factorizing.read import read
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.solve import Made, made_each
from compressor.passes.factorizing.swap import swapped
from compressor.passes.reading.trials import Damage, Judge, Trials

__all__ = ["SHARES", "RankDamage", "measure_ranks", "rank_choices", "ranked"]

SHARES = (0.75, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class RankDamage:
    """A matrix at one rank: what that does to the outputs (without data, `error` is of the weights), the metric's value
    where a judge was given, and the bytes of the two layers that it would become."""

    site: str
    shape: Shape
    choice: Choice
    share: float
    bytes: int
    damage: Damage
    metric: float | None = None

    @property
    def rank(self) -> int:
        return self.choice.rank

    @property
    def saved(self) -> int:
        """Bytes, of fp32; below 0 where two layers hold more than the one."""
        return 4 * self.shape.dense - self.bytes


def rank_choices(site: Site, shares: Sequence[float], method: str) -> dict[float, Choice]:
    """The ranks of a site by share of its full rank, 1 at least, each once."""
    ranks = {max(int(share * site.shape.full), 1): share for share in sorted(shares)}
    return {share: Choice(rank, method=method) for rank, share in ranks.items()}


def measure_ranks(
    program: Program,
    sites: Sequence[Site],
    batches: Sequence[Batch] = (),
    *,
    shares: Sequence[float] = SHARES,
    method: str = "svd",
    calibration: Sequence[Batch] = (),
    judge: Judge | None = None,
    progress: Progress | None = None,
) -> list[RankDamage]:
    """Every site of a functional program at every share of its full rank, in the order of the sites' last calls.

    Outputs are compared on `batches`; without any the error is that of the weights. `method` "activation" weighs by
    what a site reads on the calibration batches.
    """
    trials = Trials(program, batches) if batches else None
    reads = calibration if method == "activation" else ()
    found: list[RankDamage] = []
    with torch.no_grad():
        for site, seen in read(program, sites, reads, progress or Progress(), what="measuring ranks"):
            choices = rank_choices(site, shares, method)
            cuts = zip(choices, made_each(program, site, list(choices.values()), seen), strict=True)
            found += _measured(program, site, dict(cuts), trials, judge)
    return found


def ranked(found: Sequence[RankDamage]) -> list[RankDamage]:
    """The most damaging first."""
    return sorted(found, key=lambda each: (-each.damage.additive, each.site, each.rank))


def _measured(
    program: Program, site: Site, cuts: Mapping[float, Made], trials: Trials | None, judge: Judge | None
) -> Iterator[RankDamage]:
    if trials is not None:
        trials.advance(site.nodes)
    for share, made in cuts.items():
        size, value, damage = 4 * site.shape.weights(made.choice), None, Damage(made.error)
        if trials is not None:
            results = trials.outputs_with(swapped(program, site, made.parts.product, made.bias))
            damage, value = trials.damage(results), None if judge is None else judge(results)
        yield RankDamage(site.name, site.shape, made.choice, share, size, damage, value)
