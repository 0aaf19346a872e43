"""Iterative pruning: many small cuts, each scored anew on what the one before it left, recovery between.

    MACs after round r  ≤  (1 − amount)^(r / rounds) · MACs

(Han et al., 2015, arXiv:1506.02626, prune and retrain in turn; Minitron, Muralidharan et al., 2024, arXiv:2407.14679,
two steps beat one.) A finished round is kept on disk and not repeated.
"""

from __future__ import annotations

from compressor.graph.contract import PassResult, Skip
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.program import Program
from compressor.passes.pruning.job import NOTHING, Job

__all__ = ["iterative"]


def iterative(job: Job) -> PassResult:
    """Cut, reconstruct and recover `rounds` times."""
    resume = job.resume("iterative")
    done, program = resume.load() or (0, job.program)
    skipped: list[Skip] = []
    for number in range(done + 1, job.rounds + 1):
        target = job.macs * (1 - job.amount) ** (number / job.rounds)
        job.context.progress.say(f"prune: round {number} of {job.rounds}, to {target / job.macs:.0%} of the MACs")
        dimensions = job.dimensions if program is job.program else analyse(program)
        program, skipped = _round(job, dimensions, target, f"round-{number}")
        resume.save(number, program)
    return job.result(program, skipped)


def _round(job: Job, dimensions: Dimensions, target: float, name: str) -> tuple[Program, list[Skip]]:
    ranked = job.ranked(dimensions)
    kept = [Skip(site, "you asked to keep it") for site in ranked.kept]
    if not ranked.ladders:
        return dimensions.program, [*kept, NOTHING]
    allocation, useless = job.chooser.allocation(ranked, target, job.context)
    removal = allocation.removal()
    if not removal.units:
        return dimensions.program, [*kept, *useless]
    return job.recover(job.slice(removal), name), [*kept, *useless]
