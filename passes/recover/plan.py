"""What two networks are compared by: their inputs, outputs, block ends and attention, found once before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.causal import predicted
from compressor.graph.contract import Batch
from compressor.graph.edit import argument, is_call
from compressor.graph.program import Program
from compressor.passes.recover import factors
from compressor.passes.recover.outputs import Output, fed, match_inputs, match_outputs
from compressor.passes.recover.points import Pair, attention_of, blocks_of, matched

__all__ = ["LABELS", "Plan", "Seen", "make_plan", "padding", "tokens_of"]

LABELS = "labels"
aten = torch.ops.aten


@dataclass(frozen=True)
class Plan:
    """Which inputs feed the teacher, which outputs, points and attention layers of both are compared.

    `shallower`: the student has fewer blocks. `mask` names the input that marks padding. `causal`: the teacher is a
    language model that scores the next token. `pairs` are layers that became two.
    """

    feeds: tuple[str, ...]
    outputs: tuple[Output, ...]
    points: tuple[Pair, ...]
    attention: tuple[Pair, ...]
    shallower: bool
    mask: str | None
    causal: bool = False
    pairs: tuple[factors.Pair, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether the student was made of this teacher, as far as names tell."""
        return any(pair.alike for pair in (*self.points, *self.attention))

    def taps(self, *, ours: bool) -> list[fx.Node]:
        """The nodes to observe: points, then queries, keys and values of each attention layer."""
        points = [pair.ours if ours else pair.theirs for pair in self.points]
        layers = [pair.ours if ours else pair.theirs for pair in self.attention]
        return points + [argument(node, name) for node in layers for name in ("query", "key", "value")]


@dataclass(frozen=True)
class Seen:
    """What both networks computed on one batch: outputs, points, and (q, k, v) in a row for each attention layer.

    `mask` [samples, positions] is true where there is no padding. `labels` are the user's. `strays`: how far factorized
    layers are from the teacher's, one number each.
    """

    ours: tuple[Tensor, ...]
    theirs: tuple[Tensor, ...]
    points: tuple[tuple[Tensor, Tensor], ...] = ()
    attention: tuple[tuple[Tensor, Tensor], ...] = ()
    mask: Tensor | None = None
    labels: Tensor | None = None
    tokens: Tensor | None = None
    strays: tuple[Tensor, ...] = ()


def make_plan(student: Program, teacher: Program, batch: Batch, temperature: float | None = None) -> Plan:
    """Match the two on one batch. Raises InputError where inputs or outputs do not fit."""
    feeds = match_inputs(student, teacher)
    given = fed(student, teacher, batch)
    results = list(teacher.run(given).values())
    ours, theirs = blocks_of(student), blocks_of(teacher)
    return Plan(
        feeds,
        tuple(match_outputs(student, teacher, results, temperature)),
        tuple(matched(ours, theirs)),
        tuple(matched(attention_of(student), attention_of(teacher))),
        len(ours) < len(theirs),
        padding(student, batch),
        predicted(teacher, given) is not None,
        factors.pairs_of(student, teacher),
    )


def padding(program: Program, batch: Batch) -> str | None:
    """The input that marks padding: a matrix of zeros and ones that no table is looked up with."""
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    for spec, node in zip(program.inputs, placeholders, strict=True):
        value = batch[spec.name]
        is_matrix = value.dim() == 2 and not value.dtype.is_floating_point
        if is_matrix and not _is_looked_up(node) and bool(((value == 0) | (value == 1)).all()):
            return spec.name
    return None


def tokens_of(program: Program, batch: Mapping[str, Tensor]) -> Tensor | None:
    """The token ids of a language model: the integer matrix that the largest table is looked up with."""
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    named = zip(program.inputs, placeholders, strict=True)
    return next((batch[s.name] for s, n in named if batch[s.name].dim() == 2 and _is_looked_up(n)), None)


def _is_looked_up(node: fx.Node) -> bool:
    """Whether a table is looked up with this value, or with another shape of it."""
    shapes = (aten.slice.Tensor, aten.view.default, aten.reshape.default, aten.to.dtype, aten.alias.default)
    for user in node.users:
        if is_call(user, aten.embedding.default) and argument(user, "indices") is node:
            return True
        if is_call(user, *shapes) and _is_looked_up(user):
            return True
    return False
