"""Settings are checked whole before anything is written, told where they fit nothing, and refused on another target."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantizing.carry import carry_out, check_target
from compressor.targets.loader import load_target

STATIC: Setting = {"format": "int8", "weights": "int8", "activation": "uint8", "low": -4.0, "high": 4.0}


def net() -> Program:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    program, _ = functional_copy(capture(model.eval(), (torch.randn(4, 64),)).program)
    return program


def test_each_site_gets_its_format_and_a_name_that_fits_nothing_is_told() -> None:
    program = net()
    exact = program.run(list(program.example))
    settings: dict[str, Setting] = {
        "0": STATIC, "2": {"format": "int4", "block": 32}, "4": {"format": "bf16"}, "nowhere": {"format": "int8"},
    }  # fmt: skip
    done = carry_out(program, settings, None, Context(board()), (), 8)
    assert sorted(done.changed) == ["0.weight", "2.weight", "4.weight"]
    assert [(skip.site, skip.reason) for skip in done.skipped] == [("nowhere", "the model has no such layer")]
    tensors = done.program.tensors()
    assert [tensors[f"{n}.weight"].dtype for n in (0, 2, 4)] == [torch.int8, torch.uint8, torch.bfloat16]
    [ours], [theirs] = done.program.run(list(done.program.example)).values(), exact.values()
    assert 0 < float((ours - theirs).norm() / theirs.norm()) < 0.2


def test_nothing_is_written_before_every_setting_is_checked() -> None:
    program = net()
    before = program.hash()
    with pytest.raises(RecipeError, match="block is 7"):
        carry_out(program, {"0": STATIC, "4": {"format": "int4", "block": 7}}, None, Context(board()), (), 8)
    assert program.hash() == before


@pytest.mark.parametrize(
    ("setting", "target", "text"),
    [
        ({"format": "int4", "block": 32}, "jetson", "has no MatMulNBits"),
        (STATIC, "jetson", "computes with int8 activations"),
        ({**STATIC, "activation": "int8"}, "x86-64", "computes with uint8 activations"),
    ],
)
def test_a_recipe_for_another_target_is_refused(setting: Setting, target: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text) as caught:
        check_target({"0": setting}, load_target(target))
    assert "another target" in (caught.value.way_out or "")
