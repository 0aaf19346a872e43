"""Mixed precision: the budget, the ends, what it is worth against one format everywhere, recipes."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from boards import board
from narrow_nets import linear_net, net_batches
from programs import conv
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.cost import Estimate, Roofline
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.mixed import ends
from compressor.passes.quantizing.sites import find_layers
from compressor.targets.target import Target

CALIBRATED = Context(board(), calibration=net_batches(), synthetic=False)
MIXED = Quantize("mixed", mode="weight-only", slower=True, solver="mse", bias="none")
LAYERS = ("first", "second", "up", "down", "head")


@functools.cache
def mixed(bits: float) -> PassResult:
    return replace(MIXED, bits=bits).run(linear_net(), CALIBRATED)


def error(program: Program) -> float:
    batch = {"x": torch.cat([batch["x"] for batch in net_batches(128)])}
    [exact], [ours] = linear_net().run(batch).values(), program.run(batch).values()
    return float((ours - exact).norm() / exact.norm())


def weight_bits(program: Program) -> float:
    """As stored, over all layers."""
    stored = {name: t for name, t in program.tensors().items() if ".weight" in name and "zero" not in name}
    weights = sum(linear_net().get(f"{name}.weight").numel() for name in LAYERS)
    return 8 * sum(t.numel() * t.element_size() for t in stored.values()) / weights


@pytest.mark.parametrize("bits", [4.0, 5.0, 6.0])
def test_the_budget_is_kept_and_said(bits: float) -> None:
    result = mixed(bits)
    achieved = weight_bits(result.program)
    assert bits - 0.6 < achieved <= bits
    assert f"{achieved:.2f} bits a weight with scales, asked for {bits:g}" in result.notes[0]
    assert "most sensitive, change of the outputs: " in result.notes[0]


def test_more_bits_less_error() -> None:
    errors = [error(mixed(bits).program) for bits in (4.0, 5.0, 8.0)]
    assert errors[0] > errors[1] > errors[2]


def test_at_equal_bytes_it_beats_int4_everywhere() -> None:
    uniform = Quantize("int4", block=32, solver="mse", bias="none").run(linear_net(), CALIBRATED).program
    result = mixed(weight_bits(uniform))
    assert result.program.unique_bytes() <= uniform.unique_bytes()
    assert error(result.program) < 0.95 * error(uniform)
    assert len({setting["format"] for setting in result.settings.values()}) > 1


def test_ends_stay_at_eight_bits_without_data() -> None:
    result = replace(MIXED, bits=3.5).run(linear_net(), Context(board()))
    formats = {site: setting["format"] for site, setting in result.settings.items()}
    assert formats["first"] == formats["head"] == "int8"
    assert {formats[name] for name in ("second", "up", "down")} <= {"int2", "int3", "int4"}
    assert "there is no data to run" in result.notes[0]
    assert any("held at eight bits: first, head" in note for note in result.notes)


def test_a_budget_out_of_reach_is_told() -> None:
    result = mixed(0.5)
    held = " with first and last ones held at eight" if "held" in result.notes[-1] else ""
    assert result.missed.endswith(f"bits a weight is the least that the layers can have{held}; 0.5 was asked for")
    assert mixed(5.0).missed == ""


def test_settings_do_the_same_again_without_data() -> None:
    for first in (
        mixed(5.0),
        Quantize("mixed", calibrator="minmax", solver="mse", bias="none").run(linear_net(), CALIBRATED),
    ):
        again = Quantize(sites=first.settings).run(linear_net(), Context(board()))
        assert again.program.hash() == first.program.hash()
        assert again.settings == first.settings


def test_options_have_the_damage_that_was_measured() -> None:
    options = [option for option in MIXED.options(linear_net(), CALIBRATED) if option.site == "up"]
    damage = {each.setting["format"]: each.damage for each in options if each.setting.get("block", 64) == 64}
    assert damage["fp32"] == 0.0
    assert 0.0 < damage["int8"] < damage["int4"] < damage["int2"]  # type: ignore[operator]


def test_milder_raises_the_bits() -> None:
    assert MIXED.milder() == {"bits": 6.0}
    assert replace(MIXED, bits=8.0).milder() is None


def test_a_network_without_linear_layers_becomes_int8() -> None:
    result = Quantize("mixed").run(conv(), Context(board()))
    assert {setting["format"] for setting in result.settings.values()} == {"int8"}
    assert result.notes == ("no layer can have fewer than eight bits on this target: mixed is int8 here",)


def test_bits_that_make_no_sense() -> None:
    with pytest.raises(RecipeError, match="bits is 0"):
        Quantize("mixed", bits=0.0)


def test_ends_of_branches_and_residuals() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.inner, self.head, self.side = (nn.Linear(8, 8) for _ in range(5))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.left(x) + self.right(x)
            y = y + self.inner(y).relu()
            return self.head(y), self.side(y)

    program, _ = functional_copy(capture(Branches(), (torch.randn(2, 8),)).program)
    assert ends(program, find_layers(program)[0]) == {"left", "right", "head", "side"}


class SlowBlocks(Roofline):
    """Products in blocks take fifty times their time in one layer."""

    def predict(self, program: Program, target: Target, **more: Any) -> Estimate:
        found = super().predict(program, target, **more)
        kernels = [
            replace(k, latency_ms=50 * k.latency_ms) if k.layer == "up" and k.format.startswith("int") else k
            for k in found.kernels
        ]
        return replace(found, kernels=tuple(kernels))


def test_where_latency_counts_nothing_slower_is_chosen() -> None:
    result = replace(MIXED, slower=False).run(linear_net(), replace(CALIBRATED, latency=SlowBlocks()))
    formats = {name: setting["format"] for name, setting in result.settings.items()}
    assert formats["up"] in ("int8", "fp32")
    assert "int4" in formats.values()


def test_a_table_tied_to_the_output_takes_its_format_and_a_mere_table_int8() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(64, 64), nn.Embedding(16, 64)
            self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            x = self.words(ids) + self.places(torch.arange(16))
            scores: Tensor = self.head(x + self.body(x).relu())
            return scores

    torch.manual_seed(0)
    program = capture(Tied(), (torch.randint(0, 64, (4, 16)),)).program
    context = Context(board(), calibration=[{"ids": torch.randint(0, 64, (32, 16))}])
    result = replace(MIXED, bits=4.6, block=64).run(program, context)
    formats = {name: setting["format"] for name, setting in result.settings.items()}
    assert formats["words"] == formats["head"]
    assert formats["places"] == "int8"
    again = Quantize(sites=result.settings).run(program, Context(board()))
    assert again.program.hash() == result.program.hash()


def test_the_solver_that_is_asked_for_finds_the_codes_of_what_was_chosen() -> None:
    result = replace(MIXED, solver="gptq").run(linear_net(), CALIBRATED)
    assert {setting.get("solver") for setting in result.settings.values() if setting["format"] == "int4"} == {"gptq"}
    assert error(result.program) < error(mixed(5.0).program)
