"""Which plan each format asks for, and that every option is of that plan."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.choose import Wanted, choose_formats, list_options
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.codes.rounding import NEAREST
from compressor.targets import load_target

LIMITS = Limits(static=True, calibrator="mse", percentile=99.99, samples=8, max_error=0.04)


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)), (torch.randn(4, 64),)).program


def context(program: Program) -> Context:
    rows: Tensor = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    return Context(load_target("x86-64"), calibration=[{program.inputs[0].name: rows}], synthetic=False)


def wanted(format: str, **rest: object) -> Wanted:
    return Wanted(format, 32, 5.0, LIMITS, lambda _: NEAREST, slower=True, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["int8", "fp16", "bf16", "int4", "ternary"])
def test_every_layer_has_the_format_that_was_asked_for(net: Program, format: str) -> None:
    plan = choose_formats(functional_copy(net)[0], context(net), wanted(format))
    assert {plan.settings[name]["format"] for name in ("0", "2")} == {format}


def test_mixed_takes_no_more_bits_than_were_asked_for(net: Program) -> None:
    plan = choose_formats(functional_copy(net)[0], context(net), wanted("mixed"))
    assert {plan.settings[name]["format"] for name in ("0", "2")} <= {"int8", "int4", "int2"}
    assert any("bits" in note for note in plan.notes)


def test_heavy_layers_have_eight_bits_beside_fewer(net: Program) -> None:
    plan = choose_formats(functional_copy(net)[0], context(net), wanted("int4", heavy=("2",)))
    assert [plan.settings[name]["format"] for name in ("0", "2")] == ["int4", "int8"]


def test_layers_that_are_kept_are_in_no_plan(net: Program) -> None:
    plan = choose_formats(functional_copy(net)[0], context(net), wanted("int8", keep=("2.weight",)))
    assert "0" in plan.settings
    assert "2" not in plan.settings


@pytest.mark.parametrize("format", ["int8", "fp16", "bf16", "int4", "mixed"])
def test_options_cover_every_layer_and_know_their_damage(net: Program, format: str) -> None:
    options = list_options(functional_copy(net)[0], context(net), wanted(format))
    assert {option.site for option in options} == {"0", "2"}
    assert all(option.damage is not None and option.bytes > 0 for option in options)
