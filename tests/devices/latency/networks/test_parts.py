"""Parts of convolutional networks."""

from __future__ import annotations

import random

import torch
from torch import nn

from compressor.devices.latency.networks.draw import Draw
from compressor.devices.latency.networks.parts import Excite, Shuffle, conv, fits, pointwise, settle


def test_settled_norms_keep_activations_near_one() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*(conv(16, 16) for _ in range(12))).eval()
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        faded = module(x).std().item()
        settle(module, (x,))
        kept = module(x).std().item()
    assert faded < 0.05 < 0.3 < kept < 3
    assert not any(each.training for each in module.modules())


def test_a_pointwise_pair_computes_a_map_of_the_same_shape() -> None:
    shapes = set()
    for seed in range(60):
        layer = pointwise(Draw(seed), 48, 64, 2)
        assert layer(torch.randn(1, 48, 6, 6)).shape == (1, 64, 3, 3)
        shapes.add(len([each for each in layer.modules() if isinstance(each, nn.Conv2d)]))
    assert shapes == {1, 2}


def test_gates_and_shuffles_keep_shapes() -> None:
    x = torch.randn(1, 8, 4, 4)
    for convolutional in (True, False):
        assert Excite(8, 2, nn.Sigmoid(), convolutional)(x).shape == x.shape
    assert torch.equal(Shuffle(nn.Identity())(x)[:, :4:2], x[:, :2])


def test_what_fits_is_bounded() -> None:
    assert fits(64, 64, 28)
    assert not fits(random.Random(0).choice([512]), 512, 56)
