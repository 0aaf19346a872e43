"""One layer at a time: score, mask, correct what stays, and measure the damage on the layer's own outputs.

    damage = ‖(W − Ŵ)·X‖ / ‖W·X‖        without data ‖W − Ŵ‖ / ‖W‖

X is what the layer reads once the layers before it are sparse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.reading.inputs import Inputs, walk
from compressor.passes.sparsifying.layers import Layer
from compressor.passes.sparsifying.scores import Ranking, ranking
from compressor.passes.sparsifying.settings import Choice
from compressor.passes.sparsifying.update import relative_error, updated

__all__ = ["WIDEST", "Made", "solve", "solved"]

WIDEST = 8192  # inputs of a layer whose rest is corrected: time grows with their cube


@dataclass(frozen=True)
class Made:
    """New weights of a layer as groups × outputs × inputs, beside the old ones."""

    matrix: Tensor
    updated: bool
    before: Tensor
    gram: Tensor | None

    @property
    def damage(self) -> float:
        return relative_error(self.before, self.matrix, self.gram)


def solved(
    program: Program,
    layers: Sequence[Layer],
    choices: Mapping[str, Sequence[Choice]],
    batches: Sequence[Batch],
    context: Context,
) -> Iterator[tuple[Layer, list[tuple[Choice, Made | str]]]]:
    """Each layer with what every choice makes of it, or why not. What the caller writes at once, later layers read."""
    wanted = [layer for layer in layers if choices.get(layer.name)]

    def wants_gram(layer: Layer) -> bool:
        correct = any(choice.update for choice in choices[layer.name])
        return correct and layer.matrix(program).shape[-1] <= WIDEST

    needed = any(choice.asks_for_inputs for layer in wanted for choice in choices[layer.name])
    for layer, inputs in walk(program, wanted, batches if needed else (), wants_gram, context.progress):
        matrix = layer.matrix(program)
        yield layer, [(c, solve(matrix, c, inputs, layer.name, context.seed)) for c in choices[layer.name]]


def solve(matrix: Tensor, choice: Choice, inputs: Inputs | None, name: str, seed: int) -> Made | str:
    """The weights that a choice leaves, or the reason why it cannot be made."""
    if not torch.isfinite(matrix).all():
        return "its weights are not finite"
    if choice.asks_for_inputs and inputs is None:
        return "the calibration data never reaches it"
    if choice.asks_for_inputs and inputs is not None and not inputs.usable:
        return "what it reads on the calibration data is not finite, or all zero"
    gram = inputs.gram if inputs is not None else None
    squares = inputs.squares if inputs is not None else [None] * len(matrix)
    rankings = [ranking(choice.score, *given, name, seed) for given in zip(matrix, squares, strict=True)]
    better = _corrected(matrix, choice, gram, rankings) if choice.update and gram is not None else None
    made = _masked(matrix, choice, rankings) if better is None else better
    return Made(made, better is not None, matrix, gram)


def _masked(matrix: Tensor, choice: Choice, rankings: Sequence[Ranking]) -> Tensor:
    scores = torch.stack([ranking.of(part) for ranking, part in zip(rankings, matrix, strict=True)])
    whole = choice.score == "magnitude" and not choice.pattern.group
    mask = choice.pattern.mask(scores.reshape(1, -1) if whole else scores).reshape(matrix.shape)
    return matrix.masked_fill(~mask, 0.0)


def _corrected(matrix: Tensor, choice: Choice, gram: Tensor, rankings: Sequence[Ranking]) -> Tensor | None:
    given = zip(matrix, gram, rankings, strict=True)
    parts = [updated(one, products, choice.pattern, ranking) for one, products, ranking in given]
    whole = [part for part in parts if part is not None]
    return torch.stack(whole) if len(whole) == len(parts) else None
