"""Which candidates go: ways to tell what the network does best without.

    greedy      bypass each that is left, measure the outputs, drop the one that is missed least; and again; then
                exchange one that went for one that stayed, the best pair each time, as long as that helps
    influence   1 − E[cos(x_in, x_out)], all from one run
    last        the last ones, but for the very last        random      drawn by the seed

greedy: Mamba-Shedder (Muñoz et al., 2025, arXiv:2501.17088); influence: Minitron (Muralidharan et al., 2024,
arXiv:2407.14679) and ShortGPT (Men et al., 2024, arXiv:2403.03853).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor, fx
from torch.nn import functional

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import Candidate
from compressor.passes.reading.samples import visit
from compressor.passes.recover.judge import Judge

__all__ = ["by_chance", "from_the_end", "greedy", "influence", "least"]


def greedy(
    program: Program, found: Sequence[Candidate], count: int, judge: Judge, progress: Progress
) -> tuple[list[Candidate], list[float]]:
    """`count` of them in the order in which they went, and the damage after each; where some were exchanged, all have
    the damage of the end."""
    gone: list[Candidate] = []
    damages: list[float] = []
    for number in range(count):
        left = [each for each in found if not any(each.overlaps(other) for other in gone)]
        if not left:
            break
        tried = progress.over(left, f"dropping {number + 1} of {count}")
        scored = [(judge.damage(without(program, [*gone, each])), place) for place, each in enumerate(tried)]
        damage, place = min(scored)
        gone.append(left[place])
        damages.append(damage)
    for _ in gone:
        better = _exchanged(program, found, gone, judge, progress)
        if better is None or better[0] >= damages[-1]:
            break
        damages, gone = [better[0]] * len(gone), better[1]
    return gone, damages


def _exchanged(
    program: Program, found: Sequence[Candidate], gone: Sequence[Candidate], judge: Judge, progress: Progress
) -> tuple[float, list[Candidate]] | None:
    """The least damage with one that went exchanged for one that stayed, and what goes then; None where none can be."""
    pairs = [
        [*gone[:place], each, *gone[place + 1 :]]
        for place in range(len(gone))
        for each in found
        if each not in gone and not any(each.overlaps(other) for n, other in enumerate(gone) if n != place)
    ]
    tried = progress.over(pairs, "exchanging")
    scored = [(judge.damage(without(program, pair)), number) for number, pair in enumerate(tried)]
    damage, number = min(scored, default=(0.0, -1))
    return (damage, pairs[number]) if scored else None


def influence(program: Program, found: Sequence[Candidate], batches: Sequence[Batch]) -> list[float]:
    """1 − the mean cosine, over all positions, of the stream before and after each; a branch's own sum counts."""
    ends = {node: None for each in found for node in _ends(each)}
    values: dict[fx.Node, Tensor] = {}
    sums, counts = [0.0] * len(found), [0] * len(found)
    for batch in batches:
        values.clear()
        visit(program, [batch], lambda node, _, value: values.update({node: value}), ends)
        for place, each in enumerate(found):
            before, after = (values[node].float() for node in _ends(each))
            after = after if each.branch is None else before + after
            cosines = functional.cosine_similarity(before, after, dim=each.block.axis)
            sums[place] += float((1 - cosines).sum())
            counts[place] += cosines.numel()
    return [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]


def least(found: Sequence[Candidate], worth: Sequence[float], count: int) -> list[Candidate]:
    """The `count` of least worth, in the order of their worth."""
    order = sorted(range(len(found)), key=lambda place: (worth[place], place))
    return [found[place] for place in order[:count]]


def from_the_end(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """The last ones; the very last stays where others suffice, since the head was trained behind it."""
    inner = list(found[:-1]) if count < len(found) else list(found)
    return inner[len(inner) - count :]


def by_chance(found: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """Any of them."""
    return random.Random(seed).sample(list(found), count)


def _ends(candidate: Candidate) -> tuple[fx.Node, fx.Node]:
    if candidate.branch is None:
        return candidate.block.entry, candidate.block.exit
    return candidate.branch.entry, candidate.branch.exit
