"""How alike two layers' hidden states are, whatever their rotation and scale: linear centred kernel alignment.

    CKA(X, Y) = ‖Ȳᵀ·X̄‖²_F / (‖X̄ᵀ·X̄‖_F · ‖Ȳᵀ·Ȳ‖_F)        rows: positions; X̄: columns less their means

This is the feature form, whose cost grows with the widths and not with the square of the positions. (Kornblith,
Norouzi, Lee, Hinton, 2019, Similarity of Neural Network Representations Revisited, arXiv:1905.00414.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.reading.samples import visit
from compressor.passes.recover.points import features_axis

__all__ = ["alike", "hidden_states", "linear_cka"]

POSITIONS = 4096  # of a hidden state, spread over all batches


def linear_cka(x: Tensor, y: Tensor) -> float:
    """x (N, D) and y (N, E), the same N positions → 0 … 1; 0 where one of them is constant.

    Raises ValueError where the positions differ in number.
    """
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise ValueError(f"{tuple(x.shape)} and {tuple(y.shape)} are not two matrices of the same rows")
    x, y = (value.double() - value.double().mean(0) for value in (x, y))
    both, own, other = (torch.linalg.matrix_norm(product) for product in (y.T @ x, x.T @ x, y.T @ y))
    size = float(own * other)
    return float(both.square()) / size if size > 0 else 0.0


def hidden_states(program: Program, nodes: Sequence[fx.Node], batches: Sequence[Batch]) -> list[Tensor]:
    """What each node computes on the batches: positions × features, the same positions of all."""
    found = {node: list[Tensor]() for node in nodes}
    limit = -(-POSITIONS // max(len(batches), 1))

    def look(node: fx.Node, args: object, value: Tensor) -> None:
        rows = value.detach().movedim(features_axis(node), -1).flatten(0, -2)
        found[node].append(rows[:: -(-len(rows) // limit)].float().clone())

    visit(program, batches, look, found)
    return [torch.cat(found[node]) for node in nodes]


def alike(program: Program, nodes: Sequence[fx.Node], batches: Sequence[Batch]) -> list[float]:
    """CKA of what each node computes with what the next one does."""
    states = hidden_states(program, nodes, batches)
    return [linear_cka(one, other) for one, other in itertools.pairwise(states)]
