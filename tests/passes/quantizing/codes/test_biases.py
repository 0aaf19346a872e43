"""Bias correction: the mean of the error goes, where that holds for data that the mean was not taken from."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize


def prepared(net: nn.Module, shift: float = 2.0) -> tuple[Program, Tensor, Context]:
    x = torch.randn(512, 64, generator=torch.Generator().manual_seed(1)) + shift
    program = capture(net, (x[:2],)).program
    return program, x, Context(board(), calibration=[{program.inputs[0].name: x[:256]}], synthetic=False)


def mean_error(program: Program, other: Program, x: Tensor) -> float:
    [before], [after] = program.run([x]).values(), other.run([x]).values()
    return float((after - before).mean(0).norm() / before.norm() * len(x) ** 0.5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("choice", ["auto", "correct"])
def test_the_mean_error_of_new_data_nearly_goes(bias: bool, choice: str) -> None:
    torch.manual_seed(0)
    program, x, context = prepared(nn.Sequential(nn.Linear(64, 24, bias=bias)))
    found = {}
    for how in ("none", choice):
        quantize = Quantize("int2", solver="mse", bias=how, block=64, samples=256)  # type: ignore[arg-type]
        result = quantize.run(program, context)
        found[how] = mean_error(program, result.program, x[256:])
        assert result.settings["0"].get("bias", "none") == ("correct" if how == choice else "none")
    assert found[choice] < 0.15 * found["none"]


def test_auto_leaves_a_bias_that_noise_alone_would_move() -> None:
    """Inputs without a mean, few of them: what one half's mean says does not hold for the other."""
    torch.manual_seed(3)
    program, x, _ = prepared(nn.Sequential(nn.Linear(64, 24)), shift=0.0)
    context = Context(board(), calibration=[{program.inputs[0].name: x[:32]}], synthetic=False)
    result = Quantize("int4", solver="mse", block=64).run(program, context)
    assert "bias" not in result.settings["0"]
    assert torch.equal(result.program.tensors()["0.bias"], program.tensors()["0.bias"])


def test_a_bias_that_another_layer_reads_stays() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    net[2].bias = net[0].bias
    program, _, context = prepared(net)
    result = Quantize("int4", bias="correct", block=64).run(program, context)
    reasons = {skip.site: skip.reason for skip in result.skipped}
    assert reasons == dict.fromkeys(("0", "2"), "its bias stays: another layer has the same bias")


def test_int8_linears_without_a_bias_get_none() -> None:
    torch.manual_seed(0)
    program, _, context = prepared(nn.Sequential(nn.Linear(64, 24, bias=False)))
    result = Quantize("int8", mode="weight-only", bias="correct").run(program, context)
    assert [skip.reason for skip in result.skipped] == [
        "its bias stays: it has none, and one would be another operator"
    ]
