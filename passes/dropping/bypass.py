"""The graph without some blocks or branches.

    block    what read its exit reads its entry          branch    stream + branch  →  stream

What only the dropped part needed goes with it: weights, and of a decoder the key–value cache of its attention, inputs
and outputs alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import fx

from compressor.graph.blocks import Branch
from compressor.graph.edit import begin, delete_unused, is_call
from compressor.graph.kv_cache import PRESENT, is_past
from compressor.graph.naming import PAST_KEY_VALUES
from compressor.graph.program import Program
from compressor.passes.dropping.candidates import Candidate

__all__ = ["ends_of", "sum_of", "without"]

aten = torch.ops.aten


def without(program: Program, dropped: Sequence[Candidate]) -> Program:
    """A copy that still is to be finished (`edit.finish`), which runs."""
    copy = begin(program)
    twins = dict(zip(program.graph.nodes, copy.graph.nodes, strict=True))
    for _, old, new in _resolved(program, dropped):
        twins[old].replace_all_uses_with(twins[new])
    copy = _uncached(copy, {twins[node] for each in dropped for node in each.nodes})
    delete_unused(copy)
    copy.module.recompile()
    return copy


def ends_of(program: Program, smaller: Program, dropped: Sequence[Candidate]) -> list[tuple[str, fx.Node, str]]:
    """Where something is missing in `smaller`: the last site that went there, the original's node behind it, and the
    name of the node that is read in its place."""
    found = {new.name: (site, old) for site, old, new in _resolved(program, dropped)}
    left = {node.name for node in smaller.graph.nodes}
    return [(site, old, name) for name, (site, old) in found.items() if name in left]


def _ordered(program: Program, dropped: Sequence[Candidate]) -> list[Candidate]:
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    return sorted(dropped, key=lambda each: order[_end(each)])


def _resolved(program: Program, dropped: Sequence[Candidate]) -> list[tuple[str, fx.Node, fx.Node]]:
    """The last site that went at each value that goes, the value, and what takes its place; in order."""
    found: dict[fx.Node, tuple[str, fx.Node]] = {}
    for candidate in _ordered(program, dropped):
        if candidate.branch is None:
            old, new = candidate.block.exit, candidate.block.entry
        else:
            old, new = _bypassed(candidate, candidate.branch, found)
        while new in found:
            new = found[new][1]
        found[old] = (candidate.site, new)
    return [(site, old, new) for old, (site, new) in found.items()]


def _bypassed(
    candidate: Candidate, branch: Branch, found: dict[fx.Node, tuple[str, fx.Node]]
) -> tuple[fx.Node, fx.Node]:
    """The sum that a branch is a term of, and its other term. Where that has gone, too, nothing is left of the sum,
    and the one that it is a term of itself is meant: (a + b) + stream."""
    gone = branch.exit
    while True:
        total = _sum_with(candidate.block.nodes, gone)
        if total not in found:
            return total, next(node for node in total.all_input_nodes if node is not gone)
        del found[total]
        gone = total


def sum_of(nodes: Iterable[fx.Node], branch: Branch) -> fx.Node:
    """The sum within a block's nodes that adds a branch to something."""
    return _sum_with(nodes, branch.exit)


def _sum_with(nodes: Iterable[fx.Node], term: fx.Node) -> fx.Node:
    inside = set(nodes)
    return next(user for user in term.users if user in inside and is_call(user, aten.add.Tensor))


def _end(candidate: Candidate) -> fx.Node:
    return candidate.block.exit if candidate.branch is None else candidate.branch.exit


def _uncached(program: Program, gone: set[fx.Node]) -> Program:
    """Without the caches that dropped attention made, and the inputs that held them."""
    output = program.graph.output_node()
    pairs = list(zip(output.args[0], program.outputs, strict=True))  # type: ignore[arg-type]
    left = [(node, spec) for node, spec in pairs if not (spec.name.startswith(f"{PRESENT}.") and node in gone)]
    if len(left) == len(pairs):
        return program
    names = {spec.name for _, spec in left}
    lost = {spec.name.removeprefix(PRESENT) for _, spec in pairs if spec.name not in names}
    output.args = (tuple(node for node, _ in left),)
    holders = program.graph.find_nodes(op="placeholder")
    stays = [not (is_past(s) and s.name.removeprefix(PAST_KEY_VALUES) in lost) for s in program.inputs]
    kept = [node for node, stay in zip(holders, stays, strict=True) if stay]
    shapes = {spec.shape: node for spec, node, stay in zip(program.inputs, holders, stays, strict=True) if stay}
    for spec, node in zip(program.inputs, holders, strict=True):
        if node not in kept:
            node.replace_all_uses_with(shapes[spec.shape])  # its sizes alone are read: all caches have the same
    delete_unused(program)
    for node in set(holders) - set(kept):
        program.graph.erase_node(node)
    return replace(
        program, outputs=tuple(spec for _, spec in left),
        inputs=tuple(spec for spec, stay in zip(program.inputs, stays, strict=True) if stay),
        example=tuple(value for value, stay in zip(program.example, stays, strict=True) if stay),
    )  # fmt: skip
