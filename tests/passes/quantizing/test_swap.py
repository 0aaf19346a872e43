"""A swapped layer computes what the pass, run at that site alone, makes of the program."""

from __future__ import annotations

import pytest
import torch
from boards import board
from narrow_nets import linear_net, net_batches

from compressor.graph.contract import Context, Setting
from compressor.graph.functional import functional_copy
from compressor.graph.stepping import Stepper
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.swap import rounded_weight, swapped

STATIC = {"format": "int8", "weights": "int7", "activation": "uint8", "low": -3.0, "high": 4.0}
SETTINGS: list[Setting] = [
    {"format": "int8", "weights": "int8"},
    STATIC,
    {"format": "int4", "block": 32, "activation": "int8"},
    {"format": "int2", "block": 64},
    {"format": "ternary", "block": 32},
    {"format": "int2", "block": 64, "solver": "nearest"},
    {"format": "int4", "block": 32, "solver": "hqq"},
    {"format": "int8", "weights": "int8", "solver": "mse"},
    {"format": "ternary", "block": 32, "scale": "row", "rule": "absmean"},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: " ".join(map(str, setting.values())))
@pytest.mark.parametrize("name", ["second", "up"])
def test_a_swap_is_the_pass_at_one_site(name: str, setting: Setting) -> None:
    program, _ = functional_copy(linear_net())
    layer = next(layer for layer in find_layers(program)[0] if layer.name == name)
    [batch] = net_batches(32)
    [ours] = Stepper(program, program.flatten(batch)).fork(swapped(program, layer, setting)).outputs()
    applied = Quantize(sites={name: setting}).run(linear_net(), Context(board())).program
    [theirs] = applied.run(batch).values()
    [exact] = program.run(batch).values()
    if setting is STATIC and name == "up":  # the residual reads its input too, which the pass rounds for both
        assert float((ours - exact).norm()) <= float((theirs - exact).norm())
    else:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not torch.equal(ours, exact)


def test_an_output_range_rounds_after_the_fused_relu() -> None:
    program, _ = functional_copy(linear_net())
    layer = next(layer for layer in find_layers(program)[0] if layer.name == "second")
    calls = swapped(program, layer, {**STATIC, "out_low": 0.0, "out_high": 6.0})
    assert [str(node.target) for node in calls] == ["aten.linear.default", "aten.relu.default"]
    relu = next(call for node, call in calls.items() if "relu" in str(node.target))
    codes = relu(torch.linspace(-1, 6, 50)) * 255 / 6
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)


def test_float_is_the_weight_itself() -> None:
    program, _ = functional_copy(linear_net())
    layer = find_layers(program)[0][0]
    assert torch.equal(rounded_weight(program, layer, {"format": "fp32"}), program.get(layer.weight))
    half = rounded_weight(program, layer, {"format": "fp16"})
    assert torch.equal(half, program.get(layer.weight).half().float())


def test_int8_is_tried_on_the_scales_that_it_gets() -> None:
    program, _ = functional_copy(linear_net())
    layer = next(layer for layer in find_layers(program)[0] if layer.name == "up")
    setting = {"format": "int8", "solver": "mse"}
    tried = rounded_weight(program, layer, setting)
    codes = Quantize(sites={"up": setting}).run(linear_net(), Context(board())).program.tensors()
    torch.testing.assert_close(tried, codes["up.weight"] * codes["up.weight_scale"][:, None])
    assert not torch.equal(tried, rounded_weight(program, layer, {"format": "int8"}))
