"""The steps of residual streams: sums of a stream and of branches that are computed from it.

    sum = stream + branch₁(stream) + …        exit = post(sum), where the next step begins or its twins end

A step is a sum (of all its terms, however they are bracketed) one of whose terms the others are computed from. One
that holds no weights is a step where nothing reads the stream past it, and one around other steps (a long skip) is
none: what lies inside it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx

from compressor.graph.blocks.likeness import followed, likeness
from compressor.graph.blocks.operators import is_activation, is_cast, is_layout, is_light, is_weighted, same_shape
from compressor.graph.blocks.reach import Reach
from compressor.graph.edit import argument, is_call, sole_user
from compressor.graph.program import Program

__all__ = ["Step", "find_streams"]

aten = torch.ops.aten


@dataclass(frozen=True)
class Step:
    """`terms` are the branches' ends. `gap`: views lie between its exit and the next step's entry. `weighted`: a branch
    multiplies by a stored matrix."""

    entry: fx.Node
    total: fx.Node
    terms: tuple[fx.Node, ...]
    exit: fx.Node
    weighted: bool
    gap: bool = False


def find_streams(program: Program, reach: Reach) -> list[list[Step]]:
    """Runs of steps, each of which begins where the one before ends."""
    steps = _innermost(reach, [step for node in reach.order if (step := _step(program, reach, node)) is not None])
    following = _linked(reach, steps)
    ends = _common_posts(program, reach, steps, following)
    runs: list[list[Step]] = []
    inside = {other for _, other, _ in following.values()}
    for step in (step for step in steps if step not in inside):
        run, current = [], step
        while True:
            link = following.get(current)
            run.append(
                replace(current, exit=ends[current], gap=link is not None and link[1].entry is not ends[current])
            )
            if link is None:
                break
            current = link[1]
        runs.append(run)
    return runs


def _step(program: Program, reach: Reach, node: fx.Node) -> Step | None:
    """The step that a sum ends."""
    user = sole_user(node)
    if not _is_sum(node) or (user is not None and _is_sum(user)):
        return None
    terms = list(_terms(node))
    entry = _stream(reach, terms)
    if entry is None:
        return None
    branches = tuple(t for t in terms if entry not in (t, _unscaled(t)) and reach.depends(t, entry))
    inside = [node for term in branches for node in reach.between(entry, term)]
    weighted = any(is_weighted(program, reach, node) for node in inside)
    if not same_shape(entry, node) or not (weighted or _is_closed(reach, entry, node)):
        return None
    return Step(entry, node, branches, node, weighted)


def _is_sum(node: fx.Node) -> bool:
    """Whether it adds two tensors of the sum's own shape."""
    if not is_call(node, aten.add.Tensor) or argument(node, "alpha") != 1:
        return False
    return all(isinstance(term, fx.Node) and same_shape(term, node) for term in node.args[:2])


def _terms(node: fx.Node) -> Iterator[fx.Node]:
    for term in node.all_input_nodes:
        if _is_sum(term) and len(term.users) == 1:
            yield from _terms(term)
        else:
            yield term


def _stream(reach: Reach, terms: Sequence[fx.Node]) -> fx.Node | None:
    """The term, or what a term is a multiple of, that other terms are computed from."""
    others = {term: [o for o in terms if o is not term and reach.depends(o, term)] for term in terms}
    best = max(terms, key=lambda term: len(others[term]))
    if others[best]:
        return best
    for term in terms:
        source = _unscaled(term)
        if source is not term and any(reach.depends(o, source) for o in terms if o is not term):
            return source
    return None


def _unscaled(term: fx.Node) -> fx.Node:
    """What a term is a multiple by a number, or a cast, of."""
    while len(term.all_input_nodes) == 1 and (is_cast(term) or is_call(term, aten.mul.Tensor)):
        term = term.all_input_nodes[0]
    return term


def _is_closed(reach: Reach, entry: fx.Node, end: fx.Node) -> bool:
    """Whether nothing after `end` reads what came before it."""
    inside = set(reach.between(entry, end))
    return inside.issuperset(user for node in (entry, *(inside - {end})) for user in node.users)


def _innermost(reach: Reach, steps: Sequence[Step]) -> list[Step]:
    """Those with weights that no other of them lies inside of, and those without that lie inside of none with."""
    weighted = [step for step in steps if step.weighted]
    around = [step for step in weighted if not any(_inside(reach, other, step) for other in weighted)]
    plain = [step for step in steps if not step.weighted and not any(_inside(reach, step, o) for o in around)]
    return sorted([*around, *plain], key=lambda step: reach.place[step.total])


def _inside(reach: Reach, step: Step, other: Step) -> bool:
    """Whether one step lies in a branch of another."""
    if step is other or step.total is other.total:
        return False
    return reach.depends(step.entry, other.entry) and any(reach.depends(term, step.total) for term in other.terms)


def _linked(reach: Reach, steps: Sequence[Step]) -> dict[Step, tuple[Step, Step, fx.Node]]:
    """For each step the one that begins where it ends: with itself before it, and the value they share behind it."""
    totals = {step.total: step for step in steps}
    found: dict[Step, tuple[Step, Step, fx.Node]] = {}
    for step in steps:
        end = step.entry
        while end not in totals and is_layout(end) and not is_light(end):
            end = end.all_input_nodes[0]
        before = _sum_before(reach, totals, end)
        if before is not None and before not in found:
            found[before] = (before, step, end)
    return found


def _sum_before(reach: Reach, totals: dict[fx.Node, Step], end: fx.Node) -> Step | None:
    """The step from whose sum a norm or an activation computes `end`, and from no other's."""
    found, seen, waiting = set(), set(), [end]
    while waiting:
        node = waiting.pop()
        if node in seen or not reach.depends_on_any(node, totals):
            continue
        seen.add(node)
        if node in totals:
            found.add(node)
        elif not is_light(node):
            return None
        else:
            waiting += node.all_input_nodes
    return totals[found.pop()] if len(found) == 1 else None


def _common_posts(
    program: Program, reach: Reach, steps: Sequence[Step], following: dict[Step, tuple[Step, Step, fx.Node]]
) -> dict[Step, fx.Node]:
    """Where each step ends: behind what most of its twins have behind their sums, so that the norm after the last block
    of a network is no part of it, and the norm that ends every block is part of the last, too."""
    twins: dict[str, list[Step]] = {}
    for step in steps:
        twins.setdefault(likeness(program, reach, step.entry, step.total).digest, []).append(step)
    ends: dict[Step, fx.Node] = {}
    for group in twins.values():
        posts = [(step, following[step][2]) for step in group if step in following]
        digests = [likeness(program, reach, step.total, end).digest for step, end in posts]
        common = Counter(digests).most_common(1)
        for step in group:
            ends[step] = _activated(step.total)
            if common:
                model, end = posts[digests.index(common[0][0])]
                nodes = reach.between(model.total, end)
                ends[step] = followed(program, reach, model.total, nodes, end, step.total) or step.total
    return ends


def _activated(total: fx.Node) -> fx.Node:
    """The activation that alone reads a sum, or the sum."""
    user = sole_user(total)
    return user if user is not None and is_activation(user) and same_shape(user, total) else total
