"""Sums over the slices that live and die with a unit."""

from __future__ import annotations

import torch
from programs import conv
from torch import nn

from compressor.graph.dimensions.groups import analyse
from compressor.passes.pruning.units import sum_by_unit


def test_a_unit_sums_its_rows_and_what_reads_them() -> None:
    program = conv()
    dimensions = analyse(program)
    weights = {n: t.detach() for n, t in program.tensors().items() if isinstance(t, nn.Parameter)}
    [dimension] = dimensions.dimensions
    scores = sum_by_unit(dimensions, weights)
    for place, unit in enumerate(dimension.units):
        expected = (
            weights["conv.weight"][place].sum()
            + weights["norm.weight"][place]
            + weights["norm.bias"][place]
            + weights["head.weight"][:, place].sum()
        )
        torch.testing.assert_close(torch.tensor(scores[unit]), expected.double().float())


def test_tied_tensors_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.words(ids))
            return scores

    from compressor.graph.capture import capture

    program = capture(Tied(), (torch.zeros(2, 3, dtype=torch.int64),)).program
    dimensions = analyse(program)
    weights = {name: value.detach() for name, value in program.tensors().items()}
    scores = sum_by_unit(dimensions, weights)
    [dimension] = dimensions.dimensions
    column = next(iter(weights.values()))[:, 0].sum()
    torch.testing.assert_close(torch.tensor(scores[dimension.units[0]]), column)
