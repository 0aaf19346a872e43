"""Which score ranks the units, by name, and the choice between them when none is named.

    random        u ~ U(0, 1)                          magnitude    √Σ w²
    batchnorm     |γ| of the norm that scales it       taylor-…, disturbed, wanda, activation: see their modules

(Magnitude over coupled slices: DepGraph, Fang et al., 2023, arXiv:2301.12900. |γ|: Liu et al., Network Slimming, 2017,
arXiv:1708.06519.) Scores of a kind that does not estimate a loss compare only within a dimension and are divided by
their mean there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import fx, nn

from compressor.errors import RecipeError
from compressor.graph.concrete import op_name
from compressor.graph.contract import Batch, Progress
from compressor.graph.dimensions.groups import Dimension, Dimensions
from compressor.graph.edit import argument, attribute
from compressor.graph.work import is_convolutional, kind_of
from compressor.passes.pruning.activations import activation, wanda
from compressor.passes.pruning.gradients import disturbed, predicts_tokens, taylor
from compressor.passes.pruning.units import UnitScores, sum_by_unit

__all__ = ["Score", "Scorer", "chosen_score"]

Score = Literal[
    "auto", "random", "magnitude", "batchnorm", "taylor-vector", "taylor-element1", "taylor-element2", "wanda",
    "activation", "disturbed",
]  # fmt: skip
NEEDS_DATA = ("taylor-vector", "taylor-element1", "taylor-element2", "wanda", "activation", "disturbed")
ADDITIVE = ("taylor-vector", "taylor-element1", "taylor-element2", "disturbed")  # they estimate a loss


@dataclass(frozen=True)
class Scorer:
    """Scores every unit of a program. Higher is more worth keeping."""

    score: Score
    batches: Sequence[Batch]
    seed: int
    progress: Progress

    def of(self, dimensions: Dimensions) -> UnitScores:
        """One number a unit. Raises RecipeError when the score needs data or norms that are not there."""
        if self.score in NEEDS_DATA and not self.batches:
            raise RecipeError(
                f"score {self.score} needs data", where="prune", way_out="Add --data, or choose magnitude or random."
            )
        scores = self._raw(dimensions)
        if self.score in ADDITIVE:
            return scores
        return {atom: score for dimension in dimensions.dimensions for atom, score in _relative(dimension, scores)}

    def _raw(self, dimensions: Dimensions) -> UnitScores:
        if self.score == "random":
            draw = random.Random(self.seed)
            return {atom: draw.random() for atom in dimensions.slices}
        if self.score == "batchnorm":
            return _batch_norm(dimensions)
        if self.score == "wanda":
            return wanda(dimensions, self.batches)
        if self.score == "activation":
            return activation(dimensions, self.batches)
        if self.score == "disturbed":
            return disturbed(dimensions, self.batches, self.seed, self.progress)
        if self.score == "magnitude":
            return _magnitude(dimensions)
        kinds = {"taylor-vector": "vector", "taylor-element1": "element-1", "taylor-element2": "element-2"}
        return taylor(dimensions, self.batches, kinds[self.score], self.progress)


def chosen_score(dimensions: Dimensions, batches: Sequence[Batch], comparable: bool = False) -> Score:
    """The default, from `benchmarks/scores.py`: half of the MACs, uniform, fitted, three seeds.

    Language models do best with Taylor's element-1, other transformers with disturbed, or within two standard errors of
    that. Of convolutional networks, by what most of their MACs are, those with depthwise convolutions do best with
    Taylor's element-2, the others with magnitude; that only ranks the units of one dimension, so that where dimensions
    must be `comparable` they take disturbed, too. Without data, magnitude.
    """
    if not batches:
        return "magnitude"
    if predicts_tokens(dimensions.program, batches) is not None:
        return "taylor-element1"
    convolutional = is_convolutional(dimensions.program.nodes(), dimensions.walk.values)
    if convolutional and any(map(_is_depthwise, dimensions.program.nodes())):
        return "taylor-element2"
    return "magnitude" if convolutional and not comparable else "disturbed"


def _is_depthwise(node: fx.Node) -> bool:
    """Whether a convolution reads one channel for each that it writes."""
    if not kind_of(node).startswith("conv"):
        return False
    weight, groups = argument(node, "weight"), argument(node, "groups")
    return weight is not None and (groups or 1) > 1 and weight.meta["val"].shape[1] == 1


def _magnitude(dimensions: Dimensions) -> UnitScores:
    squares = {
        name: value.detach().float().square()
        for name, value in dimensions.program.tensors().items()
        if isinstance(value, nn.Parameter)
    }
    return {atom: total**0.5 for atom, total in sum_by_unit(dimensions, squares).items()}


def _batch_norm(dimensions: Dimensions) -> UnitScores:
    """Units that no batch norm scales keep their magnitude."""
    norms = [node for node in dimensions.program.nodes() if op_name(node) == "batch_norm"]
    if not norms:
        raise RecipeError("score batchnorm: there is no batch norm", where="prune", way_out="Choose another score.")
    names = {attribute(argument(node, "weight")) for node in norms}
    gains = {name: dimensions.program.get(name).detach().abs() for name in names if name is not None}
    return {**_magnitude(dimensions), **sum_by_unit(dimensions, gains)}


def _relative(dimension: Dimension, scores: UnitScores) -> list[tuple[int, float]]:
    found = [scores.get(atom, 0.0) for atom in dimension.units]
    mean = sum(found) / len(found) or 1.0
    return [(atom, score / mean) for atom, score in zip(dimension.units, found, strict=True)]
