"""Bytes that sites hold back: of tensors, of layers, of all that is in a block; none of what is no place."""

from __future__ import annotations

import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Skip
from compressor.holding import skipped_sites


def test_a_site_holds_the_bytes_of_what_it_names() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=False)), nn.Linear(3, 2))
    program = capture(net, (torch.randn(2, 4),)).program
    sites = ("0.0.weight", "0.0", "linear_pair:0.2", "0", "1", "1.weight.", "unit=block", "")
    found = skipped_sites(program, [*(Skip(site, "r") for site in sites), Skip("1", "said of all", whole=True)])
    assert [skip.bytes for skip in found] == [128, 160, 96, 256, 32, 0, 0, 0, 0]
    assert found[2].site == "linear_pair:0.2"
    assert found[-1].whole
