"""Alternating slimming: first the widths that residual sums tie together, then those inside blocks, each distilled.

    1  residual widths   ½ · outputs + ½ · block features, both of the original's; then outputs alone
    2  inner widths      outputs and block features of what stage 1 left; then outputs of the original

(SlimSAM, Chen et al., 2023, arXiv:2312.05284.) The shares are those of a cut in one go. What differs: the features are
block outputs, through adapters where their width changed, not the inner ones; outputs are compared by kind, not always
by squared error; and stage 2's mixture, whose weight falls linearly there, is a sequence of two halves here.
"""

from __future__ import annotations

from dataclasses import replace

from compressor.graph.concrete import op_name
from compressor.graph.contract import PassResult, Skip
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.program import Program
from compressor.passes.pruning.allocate import Allocation
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.job import NOTHING, Job
from compressor.passes.recover.points import blocks_of, matched

__all__ = ["alternating", "residual"]


def alternating(job: Job) -> PassResult:
    """Two stages; one that finds no such widths is left out."""
    resume = job.resume("alternating")
    done, program = resume.load() or (0, job.program)
    ranked = job.chooser.ranked(job.dimensions, job.batches, job.context)
    kept = [Skip(name, "you asked to keep it") for name in ranked.kept]
    if not ranked.ladders:
        return job.result(job.program, [*kept, NOTHING])
    if done < 1:
        program = _first(job, ranked)
        resume.save(1, program)
    if done < 2:
        program, useless = _second(job, program)
        resume.save(2, program)
    else:
        useless = []
    return job.result(program, [*kept, *useless])


def residual(dimensions: Dimensions) -> frozenset[str]:
    """The dimensions whose units lie on a sum of two values that both depend on the input."""
    walk = dimensions.walk
    tied: set[int] = set()
    for node in dimensions.program.graph.nodes:
        operands = [walk.of(source) for source in node.all_input_nodes if source in dimensions.computed]
        if op_name(node) == "add" and len(operands) == 2:
            for one, two in zip(reversed(operands[0]), reversed(operands[1]), strict=False):
                tied.update(dimensions.rows(one) if one is not None and two is not None else ())
    return frozenset(d.name for d in dimensions.dimensions if tied.intersection(d.units))


def _first(job: Job, ranked: Ranked) -> Program:
    """Residual widths, as far as a cut of everything would take them."""
    allocation, _ = job.chooser.allocation(ranked, job.target, job.context)
    chosen = _only(allocation, residual(job.dimensions))
    if not any(chosen.rungs):
        return job.program
    job.context.progress.say("prune: stage 1, widths that residual sums tie together")
    program = job.slice(chosen.removal())
    if matched(blocks_of(program), blocks_of(job.teacher)):
        program = job.recover(program, "stage-1-features", "0.5*output+0.5*hidden", share=0.5)
        return job.recover(program, "stage-1", "output", share=0.5)
    return job.recover(program, "stage-1", "output")


def _second(job: Job, program: Program) -> tuple[Program, list[Skip]]:
    """Inner widths, until the target is met."""
    dimensions = job.dimensions if program is job.program else analyse(program)
    ranked = job.chooser.ranked(dimensions, job.batches, job.context)
    tied = residual(dimensions)
    inner = replace(ranked, ladders=[one for one in ranked.ladders if one.dimension.name not in tied])
    if not inner.ladders:
        return program, []
    allocation, useless = job.chooser.allocation(inner, job.target, job.context)
    if not any(allocation.rungs):
        return program, useless
    job.context.progress.say("prune: stage 2, widths inside blocks")
    smaller = job.slice(allocation.removal())
    if program is not job.program:
        features = matched(blocks_of(smaller), blocks_of(program))
        losses = "output+hidden" if features else "output"
        smaller = job.recover(smaller, "stage-2-near", losses, teacher=program, share=0.5)
        return job.recover(smaller, "stage-2", "output", share=0.5), useless
    return job.recover(smaller, "stage-2", "output"), useless


def _only(allocation: Allocation, names: frozenset[str]) -> Allocation:
    """The part of an allocation in these dimensions."""
    pairs = zip(allocation.ladders, allocation.rungs, strict=True)
    return replace(allocation, rungs=tuple(rung if one.dimension.name in names else 0 for one, rung in pairs))
