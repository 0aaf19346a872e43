"""Codes found on data: less output error than nearest rounding, and the same again on the same data."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from boards import board
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Value
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.codes.solving import ENOUGH


class Net(nn.Module):
    """A strided, a grouped and a depthwise convolution, linears of two spellings, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 16, 3, groups=4, bias=False)
        self.depthwise, self.up = nn.Conv2d(16, 16, 3, groups=16), nn.ConvTranspose2d(16, 16, 2)
        self.hidden, self.product = nn.Linear(64, 64), nn.Parameter(torch.randn(64, 48) / 8)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(functional.relu(self.depthwise(functional.relu(self.grouped(functional.relu(self.stem(x)))))))
        x = functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return self.head(functional.relu(functional.gelu(self.hidden(x)) @ self.product))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (images(2),)).program


def images(count: int) -> Tensor:
    """Smooth, so that what a layer reads goes together."""
    coarse = torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(count))
    return functional.interpolate(coarse, size=(18, 18), mode="bilinear")


def context(program: Program, *, synthetic: bool = False) -> Context:
    batches = [{program.inputs[0].name: images(count)} for count in (40, 48)]
    return Context(board(), calibration=batches, synthetic=synthetic)


def error(program: Program, other: Program) -> float:
    x = {program.inputs[0].name: images(64)}
    [before], [after] = program.run(x).values(), other.run(x).values()
    return float((after - before).norm() / before.norm())


@pytest.mark.parametrize(
    "options",
    [{"format": "int8", "mode": "weight-only"}, {"format": "int4", "block": 32}, {"format": "ternary", "block": 32}],
    ids=lambda o: o["format"],
)
def test_gptq_lowers_the_outputs_error(program: Program, options: Mapping[str, Value]) -> None:
    found = {}
    for solver in ("nearest", "gptq"):
        quantize = Quantize(**options, solver=solver, bias="none", samples=88)  # type: ignore[arg-type]
        found[solver] = error(program, quantize.run(program, context(program)).program)
    assert found["gptq"] < 0.8 * found["nearest"]


def test_later_layers_make_up_for_what_earlier_ones_lost() -> None:
    """With positions enough the second layer is fitted to what the float one gave; with few of them it is not."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 16))
    mix = torch.randn(32, 32) / 4
    rows = torch.randn(ENOUGH * 64 + 512, 32, generator=torch.Generator().manual_seed(1)) @ mix
    program = capture(net, (rows[:2],)).program
    found = {}
    for count in (ENOUGH * 64 - 1, ENOUGH * 64):
        given = Context(board(), calibration=[{program.inputs[0].name: rows[:count]}], synthetic=False)
        result = Quantize("ternary", block=32, solver="gptq", bias="none", samples=count).run(program, given)
        test = {program.inputs[0].name: rows[-512:]}
        [before], [after] = program.run(test).values(), result.program.run(test).values()
        found[count] = float((after - before).norm() / before.norm())
    few, enough = found.values()
    assert enough < 0.95 * few


def test_gptq_solves_with_data_and_says_where_not(program: Program) -> None:
    result = Quantize(mode="weight-only", solver="gptq").run(program, context(program))
    solvers = {site: setting.get("solver", "nearest") for site, setting in result.settings.items()}
    assert solvers.pop("up") == "nearest"
    assert set(solvers.values()) == {"gptq"}
    assert {skip.site: skip.reason for skip in result.skipped} == {
        "up": "rounded without gptq: it is a transposed convolution"
    }
    plain = Quantize(mode="weight-only").run(program, context(program, synthetic=True))
    assert not any("solver" in setting for setting in plain.settings.values())


class Tables(nn.Module):
    """A table and a transposed convolution with outliers, and a table tied to the last layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.up = nn.Embedding(20, 64), nn.ConvTranspose1d(64, 32, 3, groups=2)
        self.words, self.head = nn.Embedding(20, 32), nn.Linear(32, 20)
        self.head.weight = self.words.weight
        for weight in (self.table.weight, self.up.weight):
            weight.data.pow_(5)  # long tails, where the largest is worth clipping

    def forward(self, ids: Tensor) -> Tensor:
        x = self.up(self.table(ids).movedim(-1, 1)).movedim(1, -1)
        return self.head(torch.tanh(x[:, 1:-1]) + self.words(ids))


def test_searched_scales_of_whatever_has_weights() -> None:
    program = capture(Tables(), (torch.randint(0, 20, (2, 6)),)).program
    found = {}
    for solver in ("nearest", "mse"):
        result = Quantize(mode="weight-only", solver=solver, bias="none").run(program, Context(board()))
        found[solver] = result.program
    for name in ("table", "up"):
        weight, axis = program.get(f"{name}.weight").detach(), int(name == "up")
        lost = []
        for stored in found.values():
            scale = stored.get(f"{name}.weight_scale").view([-1 if i == axis else 1 for i in range(weight.dim())])
            lost.append(float((stored.get(f"{name}.weight") * scale - weight).square().sum()))
        assert lost[1] < lost[0], "the search is for the least square error"
    assert {skip.site: skip.reason for skip in result.skipped} == dict.fromkeys(
        ("words", "head"), "rounded to nearest: its weight is shared with another layer"
    )
    again = Quantize(sites=result.settings).run(program, Context(board()))
    assert again.program.hash() == result.program.hash()


@pytest.mark.parametrize("format", ["int8", "int4", "ternary"])
def test_the_same_again_from_the_settings(program: Program, format: str) -> None:
    block = {"block": 32} if format != "int8" else {}
    first = Quantize(format, max_error=1.0, **block).run(program, context(program))  # type: ignore[arg-type]
    again = Quantize(sites=first.settings).run(program, context(program))
    assert again.program.hash() == first.program.hash()
    assert again.settings == first.settings
    assert program.hash() != first.program.hash()


def test_a_recipe_with_gptq_asks_for_data(program: Program) -> None:
    setting = {"format": "int8", "solver": "gptq"}
    for without in (Context(board()), context(program, synthetic=True)):
        with pytest.raises(RecipeError, match="no calibration data"):
            Quantize(sites={"hidden": setting}).run(program, without)


def test_what_the_data_never_reach_is_rounded_by_its_weights() -> None:
    """A layer behind a ReLU that never lets anything through."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8))
    net[0].bias = nn.Parameter(torch.full((32,), -1e3))
    x = torch.randn(64, 32)
    program = capture(net, (x[:2],)).program
    given = Context(board(), calibration=[{program.inputs[0].name: x}], synthetic=False)
    result = Quantize(mode="weight-only", solver="gptq").run(program, given)
    assert "all zero" in {skip.site: skip.reason for skip in result.skipped}["2"]
    assert "solver" not in result.settings["2"]
    assert result.settings["0"]["solver"] == "gptq"


class Twice(nn.Module):
    """Both layers are called twice, the second between the calls of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.layer_norm(self.one(x), (64,))
        return self.two(functional.gelu(self.one(5 * y) + self.two(y)))


def test_the_same_again_where_a_layer_called_twice_keeps_its_bias() -> None:
    """It is rounded in its turn also where its settings ask for no data any more: later layers read the same."""
    torch.manual_seed(0)
    program = capture(Twice(), (torch.randn(2, 5, 64),)).program
    batches = [{program.inputs[0].name: torch.randn(2, 5, 64)} for _ in range(4)]
    context = Context(board(), calibration=batches, synthetic=False)
    first = Quantize("int4", block=32, solver="hqq").run(program, context)
    without = {name: {k: v for k, v in each.items() if k != "bias"} for name, each in first.settings.items()}
    mixed = {**first.settings, "one": without["one"], "two": {**without["two"], "bias": "correct"}}
    one = Quantize(sites={**mixed, "one": {**without["one"], "bias": "auto"}}).run(program, context)
    again = Quantize(sites=one.settings).run(program, context)
    assert "bias" not in one.settings["one"]
    assert one.settings["two"]["bias"] == "correct"
    assert again.program.hash() == one.program.hash()


@pytest.mark.parametrize("solver", ["mse", "hqq"])
def test_int8_takes_searched_scales_with_and_without_data(program: Program, solver: str) -> None:
    quantize = Quantize(mode="weight-only", solver=solver, bias="none", equalize="none")  # type: ignore[arg-type]
    with_data = quantize.run(program, context(program))
    without = quantize.run(program, Context(board()))
    nearest = Quantize(mode="weight-only", solver="nearest", bias="none").run(program, Context(board()))
    again = Quantize(sites=with_data.settings).run(program, context(program))
    assert with_data.settings["hidden"]["solver"] == solver
    assert again.program.hash() == with_data.program.hash() == without.program.hash() != nearest.program.hash()
    scales = (each.program.tensors()["hidden.weight_scale"] for each in (without, nearest))
    assert bool((next(scales) < next(scales)).any()), "a narrower range has smaller steps"
