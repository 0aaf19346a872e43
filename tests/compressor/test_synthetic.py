"""Synthetic values follow the rules of the module's table, and the seed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from compressor.synthetic import Slot, draw, fitting_bounds


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_values_by_dtype() -> None:
    floats = draw(Slot(torch.float16, (1000,)), None, generator())
    assert floats.dtype == torch.float16
    assert floats.float().mean().abs() < 0.15
    assert 0.9 < floats.float().std() < 1.1
    assert draw(Slot(torch.bool, (2, 2)), None, generator()).all()
    assert draw(Slot(torch.complex64, (3,)), None, generator()).is_complex()
    pixels = draw(Slot(torch.uint8, (1000,)), None, generator())
    assert pixels.min() < 20
    assert pixels.max() > 235


def test_integers_without_a_bound_serve_as_a_mask() -> None:
    mask = draw(Slot(torch.int64, (8, 16)), None, generator())
    assert set(mask.unique().tolist()) == {0, 1}
    assert (mask[:, 0] == 1).all()
    assert draw(Slot(torch.int64, ()), None, generator()).shape == ()


def test_indices_stay_below_their_bound() -> None:
    values = draw(Slot(torch.int32, (500,)), 7, generator())
    assert set(values.tolist()) == set(range(7))


def test_the_seed_decides() -> None:
    slot = Slot(torch.float32, (4,))
    assert torch.equal(draw(slot, None, generator(3)), draw(slot, None, generator(3)))
    assert not torch.equal(draw(slot, None, generator(3)), draw(slot, None, generator(4)))


@pytest.mark.parametrize(("offset", "expected"), [(0, 40), (2, 20)])
def test_bounds_shrink_until_the_model_accepts_them(offset: int, expected: int) -> None:
    words = nn.Embedding(40, 3)

    def run(values: Sequence[Tensor]) -> object:
        return words(values[0] + offset)

    assert fitting_bounds(run, [Slot(torch.int64, (2, 3))], 0) == [expected]


def test_a_model_that_refuses_everything_is_left_to_its_own_error() -> None:
    calls = 0

    def run(values: Sequence[Tensor]) -> object:
        nonlocal calls
        calls += 1
        raise ValueError("never")

    assert fitting_bounds(run, [Slot(torch.int64, (2,))], 0) == [None]
    assert calls <= 3
    assert fitting_bounds(run, [Slot(torch.float32, (2,))], 0) == [None]
    assert calls <= 3
