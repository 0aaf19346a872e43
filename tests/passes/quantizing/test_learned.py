"""What training found takes the place of what the weights and the calibration say."""

from __future__ import annotations

from dataclasses import replace

import torch
from boards import board
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.blocks import apply_blocks
from compressor.passes.quantizing.integer import apply_integer, plan_pairs
from compressor.passes.quantizing.learned import NOTHING, Learned
from compressor.passes.quantizing.sites import find_glue, find_layers
from compressor.quant.blocks import INT4, quantize_blocks


def net() -> Program:
    torch.manual_seed(0)
    return functional_copy(capture(nn.Linear(64, 16), (torch.randn(4, 64),)).program)[0]


def test_steps_and_ranges_are_written_as_learned() -> None:
    program = edit.finish(net())
    x = {"input": torch.randn(32, 64)}
    settings = dict(Quantize(max_error=9.0).run(program, Context(board(), calibration=[x])).settings)
    copy = edit.begin(program)
    layers, glue = find_layers(copy)[0], find_glue(copy)
    [pair] = set(plan_pairs(copy, layers, glue, settings).values())
    steps, wider = torch.linspace(0.01, 0.02, 16), replace(pair, low=-5.1, high=7.65)
    apply_integer(copy, layers, glue, settings, Learned(steps={"weight": steps}, pairs={pair: wider}))
    done = edit.finish(copy)
    assert torch.equal(done.get("weight_scale"), steps)
    torch.testing.assert_close(done.get("input_scale"), torch.tensor(0.05))
    assert int(done.get("input_zero_point")) == 102


def test_blocks_are_written_as_learned() -> None:
    program, weight = net(), torch.randn(16, 64)
    blocks = quantize_blocks(weight, INT4, 32)
    layers = find_layers(program)[0]
    apply_blocks(program, layers, {layers[0].name: {"format": "int4", "block": 32}}, Learned({layers[0].name: blocks}))
    done = edit.finish(program)
    assert torch.equal(done.get("weight"), blocks.packed)
    assert torch.equal(done.get("weight_scale"), blocks.scales)


def test_nothing_is_learned_without_training() -> None:
    assert (NOTHING.blocks, NOTHING.steps, NOTHING.pairs) == ({}, {}, {})
