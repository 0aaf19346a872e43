from __future__ import annotations

import pytest
import torch

from compressor.passes.reading.inputs import Inputs
from compressor.passes.sparsifying.pattern import parse_pattern
from compressor.passes.sparsifying.settings import Choice
from compressor.passes.sparsifying.solve import Made, solve

CHOICE = Choice(parse_pattern("2of4", "test"), "wanda", update=True)
MATRIX = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def inputs(scale: float = 1.0) -> Inputs:
    x = scale * torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Inputs(x.square().sum(1), x.transpose(1, 2) @ x)


def test_group_by_group() -> None:
    made = solve(MATRIX, CHOICE, inputs(), "layer", 0)
    assert isinstance(made, Made)
    assert made.updated
    assert ((made.matrix.reshape(-1, 4) != 0).sum(1) == 2).all()
    assert 0 < made.damage < 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "the calibration data never reaches it"),
        (inputs(0.0), "not finite, or all zero"),
        (inputs(float("inf")), "not finite, or all zero"),
    ],
)
def test_why_it_cannot_be_made(given: Inputs | None, reason: str) -> None:
    made = solve(MATRIX, CHOICE, given, "layer", 0)
    assert isinstance(made, str)
    assert reason in made
    assert solve(MATRIX * float("nan"), CHOICE, inputs(), "layer", 0) == "its weights are not finite"


def test_without_a_gram_matrix_nothing_is_corrected() -> None:
    made = solve(MATRIX, CHOICE, Inputs(inputs().squares, None), "layer", 0)
    assert isinstance(made, Made)
    assert not made.updated
    assert torch.equal(made.matrix[made.matrix != 0], MATRIX[made.matrix != 0])
