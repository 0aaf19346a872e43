"""Equalization: exact in float, less error where a channel is large, and the same again from settings."""

from __future__ import annotations

import pytest
import torch
from boards import board
from loud_channels import Attention, Convolutions, prepared
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.codes.rounding import NEAREST
from compressor.passes.quantizing.scaling.equalize import EqualizeChoice, equalize
from compressor.passes.quantizing.scaling.trial import trial_of


@pytest.fixture(params=[Attention, Convolutions])
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return request.param()  # type: ignore[no-any-return]


def error(program: Program, other: Program, x: Tensor) -> float:
    [before], [after] = program.run([x]).values(), other.run([x]).values()
    return float((after - before).norm() / before.norm())


@pytest.mark.parametrize("choice", ["auto", "smooth", "cross-layer"])
def test_the_float_function_stays(net: nn.Module, choice: EqualizeChoice) -> None:
    program, context, x = prepared(net)
    copy, _ = functional_copy(program)
    found = equalize(copy, choice, trial_of(copy, "int8", 128, "auto", NEAREST, context), context.calibration, context)
    assert found.settings
    copy.module.recompile()
    assert error(program, copy, x) < 1e-5
    names = {str(n.target) for n in copy.graph.nodes if n.op == "get_attr"} & set(program.tensors())
    assert any(not torch.equal(copy.get(name), program.get(name)) for name in names)


def run(program: Program, context: Context, format: str, equalize: str) -> PassResult:
    solver = {"solver": "nearest"} if format == "int8" else {"solver": "mse", "block": 64}
    options = {**solver, "bias": "none", "max_error": 9.0}
    return Quantize(format, equalize=equalize, **options).run(program, context)  # type: ignore[arg-type]


def test_a_channel_fifty_times_as_large_costs_less(net: nn.Module) -> None:
    program, context, x = prepared(net)
    plain, equal = (run(program, context, "int8", how) for how in ("none", "auto"))
    assert error(program, equal.program, x) < 0.7 * error(program, plain.program, x)
    again = Quantize(sites=equal.settings).run(program, context)
    assert again.program.hash() == equal.program.hash()


def test_in_four_bits_too() -> None:
    torch.manual_seed(0)
    program, context, x = prepared(Attention())
    plain, equal = (run(program, context, "int4", how) for how in ("none", "auto"))
    assert equal.settings["q"]["equalize"] == "awq"
    assert error(program, equal.program, x) < 0.8 * error(program, plain.program, x)
    again = Quantize(sites=equal.settings).run(program, context)
    assert again.program.hash() == equal.program.hash()


def test_cross_layer_needs_no_data_and_evens_out_rows_and_columns() -> None:
    torch.manual_seed(0)
    program, _, _ = prepared(Convolutions())
    result = Quantize(equalize="cross-layer").run(program, Context(board()))
    assert {site for site, setting in result.settings.items() if "equalize" in setting} == {"deep", "project", "head"}
    assert "no layer before it can take a scale" in {s.site: s.reason for s in result.skipped}["expand"]
    copy, _ = functional_copy(program)
    context = Context(board())
    equalize(copy, "cross-layer", trial_of(copy, "int8", 128, "auto", NEAREST, context), [], context)
    rows = copy.get("expand.weight").flatten(1).abs().amax(1)
    columns = copy.get("deep.weight").flatten(1).abs().amax(1)
    ratio = (rows / columns).detach()
    assert float(ratio.max() / ratio.min()) < 1.5
    before = [program.get(f"{name}.weight").flatten(1).abs().amax(1).detach() for name in ("expand", "deep")]
    assert float((before[0] / before[1]).max() / (before[0] / before[1]).min()) > 1000


def test_what_needs_data_is_refused_without_and_auto_leaves_it() -> None:
    torch.manual_seed(0)
    program, context, _ = prepared(Convolutions())
    with pytest.raises(RecipeError, match="no calibration data"):
        Quantize(equalize="smooth").run(program, Context(board()))
    assert not any("equalize" in each for each in Quantize().run(program, Context(board())).settings.values())
    with pytest.raises(RecipeError, match="calibration data"):
        Quantize(sites={"deep": {"format": "int8", "equalize": "smooth", "alpha": 0.5}}).run(program, Context(board()))
    with pytest.raises(RecipeError, match="no layer before it can take a scale"):
        Quantize(sites={"expand": {"format": "int8", "equalize": "cross-layer"}}).run(program, context)
    with pytest.raises(RecipeError, match="alpha is None"):
        Quantize(sites={"deep": {"format": "int8", "equalize": "smooth"}}).run(program, context)


def test_layers_that_are_kept_keep_their_scales() -> None:
    torch.manual_seed(0)
    program, context, _ = prepared(Convolutions())
    result = Quantize(equalize="cross-layer", keep=("deep",)).run(program, context)
    assert {site for site, setting in result.settings.items() if "equalize" in setting} == {"head"}


class Joined(nn.Module):
    """What one layer reads comes from a layer and from a norm, one channel of each far larger than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(64, 32)
        with torch.no_grad():
            self.first.weight[3] *= 60
            self.norm.weight[5] *= 8
            self.second.weight[:, 3] /= 60

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([torch.relu(self.first(x)), self.norm(x)], -1))


@pytest.mark.parametrize("choice", ["auto", "smooth", "cross-layer"])
def test_a_layer_with_several_before_it_says_the_scale_of_each(choice: EqualizeChoice) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 6, 32)
    program = capture(Joined().eval(), (x[:2],)).program
    context = Context(board(), calibration=[{program.inputs[0].name: x}], synthetic=False)
    done = Quantize(equalize=choice, max_error=1.0).run(program, context)
    assert "equalize" in done.settings["second"]
    if choice == "cross-layer":
        assert done.settings["second"]["equalize"] == "cross-layer, none"
    assert Quantize(sites=done.settings).run(program, context).program.hash() == done.program.hash()
