"""Distances of values, and means that neither length nor padding weighs in."""

from __future__ import annotations

import torch

from compressor.passes.recover.losses.values import by_sample, cosine, squared


def test_squared_is_the_mean_square_over_the_scale() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    assert squared(ours, theirs, 2.0).tolist() == [(4 + 9) / 2 / 2]


def test_cosine_ignores_length_and_sees_direction() -> None:
    x = torch.tensor([[3.0, 4.0]])
    assert float(cosine(x, 10 * x)) < 1e-6
    assert abs(float(cosine(x, -x)) - 2) < 1e-6
    assert abs(float(cosine(x, torch.tensor([[4.0, -3.0]]))) - 1) < 1e-6


def test_a_samples_mean_leaves_padding_out() -> None:
    loss = torch.tensor([[1.0, 3.0, 100.0], [2.0, 4.0, 6.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert by_sample(loss, mask).tolist() == [2.0, 4.0]
    torch.testing.assert_close(by_sample(loss), torch.tensor([104 / 3, 4.0]))
    assert by_sample(torch.full((2, 3), torch.nan).masked_fill(mask, 1.0), mask).tolist() == [1.0, 1.0]


def test_a_mask_of_another_shape_does_not_count() -> None:
    assert by_sample(torch.ones(2), torch.ones(2, 3, dtype=torch.bool)).tolist() == [1.0, 1.0]
    assert by_sample(torch.tensor(3.0)).tolist() == [3.0]
