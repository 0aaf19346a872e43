"""Runs of equal layers without a residual stream."""

from __future__ import annotations

import torch
from blocks import captured
from torch import nn

from compressor.graph.blocks.plain import find_runs
from compressor.graph.blocks.reach import Reach


def test_runs_of_two_or_more_equal_layers() -> None:
    layers = [nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8)) for _ in range(3)]
    program = captured(nn.Sequential(nn.Linear(5, 8), *layers, nn.Linear(8, 3)), torch.randn(2, 5))
    reach = Reach(program)
    [run] = find_runs(program, reach, ())
    assert len(run) == 4
    assert find_runs(program, reach, reach.order) == []


def test_layers_of_other_shapes_or_activations_are_no_run() -> None:
    for layers in ([nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU()], [nn.Linear(8, 6), nn.Linear(6, 8)]):
        program = captured(nn.Sequential(nn.Linear(5, 8), *layers, nn.Linear(8, 3)), torch.randn(2, 5))
        assert find_runs(program, Reach(program), ()) == []
