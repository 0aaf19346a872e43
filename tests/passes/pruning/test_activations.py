"""Scores from what flows, against the formulas on a linear layer's own inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.dimensions.groups import analyse
from compressor.passes.pruning.activations import activation, wanda
from compressor.passes.pruning.units import UnitScores


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.up(x).relu())
        return y


def test_wanda_is_weight_times_input_norm() -> None:
    torch.manual_seed(0)
    model, x = Mlp(), torch.randn(16, 6)
    dimensions = analyse(capture(model, (x,)).program)
    hidden = model.up(x).relu()
    expected = (model.down.weight.abs().sum(0) * hidden.square().sum(0).sqrt()).detach()
    expected = expected / expected.sum()
    [dimension] = dimensions.dimensions
    scores = wanda(dimensions, [{"x": x}])
    torch.testing.assert_close(torch.tensor([scores[u] for u in dimension.units]), expected)


def test_activation_is_the_batch_norm_of_position_means() -> None:
    torch.manual_seed(0)
    model, x = Mlp(), torch.randn(4, 5, 6)
    dimensions = analyse(capture(model, (x,)).program)
    hidden = model.up(x).relu().abs().mean(1).square().sum(0).sqrt().detach()
    [dimension] = dimensions.dimensions
    scores = activation(dimensions, [{"x": x}])
    torch.testing.assert_close(torch.tensor([scores[u] for u in dimension.units]), hidden / hidden.sum())


def test_a_dead_unit_scores_zero() -> None:
    torch.manual_seed(0)
    model, x = Mlp(), torch.randn(4, 6)
    with torch.no_grad():
        model.up.weight[2], model.up.bias[2] = 0.0, -1.0
    dimensions = analyse(capture(model, (x,)).program)
    [dimension] = dimensions.dimensions
    assert wanda(dimensions, [{"x": x}])[dimension.units[2]] == 0.0
    assert activation(dimensions, [{"x": x}])[dimension.units[2]] == 0.0


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)))
        return y


@pytest.mark.parametrize("score", [wanda, activation])
def test_what_no_weights_read_is_scored_where_weights_make_it(score: Callable[..., UnitScores]) -> None:
    torch.manual_seed(0)
    model, x = Attention(), torch.randn(4, 5, 6)
    with torch.no_grad():
        model.q.weight[2] *= 10
    dimensions = analyse(capture(model, (x,)).program)
    scores = score(dimensions, [{"x": x}])
    assert scores.keys() == dimensions.slices.keys()
    [inner] = [one for one in dimensions.dimensions if any(tensor == "q.weight" for tensor, *_ in one.spans)]
    assert max(inner.units, key=lambda unit: scores[unit]) == inner.units[2]
