"""Linear CKA: what it does not see, its extremes, and hidden states at the same positions."""

from __future__ import annotations

import pytest
import torch
from sharing_nets import copied, deep_gpt, residual_cnn
from tiny import text_batches

from compressor.graph.blocks import find_blocks
from compressor.passes.sharing.similarity import alike, hidden_states, linear_cka


def test_rotation_scale_and_shift_are_not_seen() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    turned, _ = torch.linalg.qr(torch.randn(8, 8))
    assert linear_cka(x, 3 * x @ turned + 5) == pytest.approx(1.0, abs=1e-6)
    assert linear_cka(x, torch.randn(200, 8)) < 0.2
    assert linear_cka(x, torch.ones(200, 3)) == 0.0


def test_it_is_the_formula_of_gram_matrices() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(30, 4).double(), torch.randn(30, 6).double()
    centre = torch.eye(30).double() - 1 / 30
    k, l = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre  # noqa: E741  as in the paper
    expected = (k * l).sum() / ((k * k).sum() * (l * l).sum()).sqrt()
    assert linear_cka(x, y) == pytest.approx(float(expected), abs=1e-9)


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="same rows"):
        linear_cka(torch.zeros(3, 2), torch.zeros(4, 2))


def test_states_are_positions_by_features_in_text_and_images() -> None:
    program = copied(deep_gpt())
    nodes = [block.exit for block in find_blocks(program)[0].blocks]
    states = hidden_states(program, nodes, text_batches(2, 8))
    assert [tuple(state.shape) for state in states] == [(2 * 8 * 32, 32)] * 4
    near = alike(program, nodes, text_batches(2, 8))
    assert len(near) == 3
    assert all(0.3 < each <= 1 for each in near), "a residual stream changes little at a time"
    images = copied(residual_cnn())
    exits = [block.exit for block in find_blocks(images)[0].blocks]
    [state, *_] = hidden_states(images, exits, [{"x": images.example[0]}])
    assert state.shape == (2 * 8 * 8, 32)
