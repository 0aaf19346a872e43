"""Settings carried out: every kind at once, what solvers found, and what is refused before anything is written."""

from __future__ import annotations

import pytest
import torch
from boards import board
from narrow_nets import linear_net, net_batches

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Setting
from compressor.graph.functional import functional_copy
from compressor.passes.quantizing.carry import carry_out, check_target

WEIGHTS: Setting = {"format": "int8", "weights": "int8"}
FOUR: Setting = {"format": "int4", "block": 32, "activation": "int8"}
REAL = Context(board(), calibration=net_batches(), synthetic=False)


def test_every_format_at_its_own_site() -> None:
    settings: dict[str, Setting] = {
        "first": WEIGHTS,
        "second": {"format": "fp16"},
        "up": FOUR,
        "down": {"format": "fp32"},
    }
    copy, _ = functional_copy(linear_net())
    result = carry_out(copy, settings, None, Context(board()), (), 8)
    stored = {name: tensor.dtype for name, tensor in result.program.tensors().items()}
    assert stored["first.weight"] == torch.int8
    assert stored["second.weight"] == torch.float16
    assert stored["up.weight"] == torch.uint8
    assert stored["down.weight"] == torch.float32
    assert result.settings == settings
    assert set(result.changed) >= {"first.weight", "second.weight", "up.weight"}


def test_codes_that_a_solver_found_are_stored() -> None:
    stored = []
    for solver in ("nearest", "gptq"):
        copy, _ = functional_copy(linear_net())
        result = carry_out(copy, {"up": {**FOUR, "solver": solver}}, None, REAL, (), 64)
        assert result.settings["up"]["solver"] == solver
        stored.append(result.program.tensors()["up.weight"])
    assert not torch.equal(*stored)


def test_a_site_that_the_model_has_not_is_said() -> None:
    copy, _ = functional_copy(linear_net())
    [skip] = carry_out(copy, {"middle": WEIGHTS}, None, Context(board()), (), 8).skipped
    assert (skip.site, skip.reason) == ("middle", "the model has no such layer")


def test_a_wrong_setting_is_refused_before_anything_is_written() -> None:
    copy, _ = functional_copy(linear_net())
    before = copy.hash()
    with pytest.raises(RecipeError, match="block is 48"):
        carry_out(copy, {"first": WEIGHTS, "up": {**FOUR, "block": 48}}, None, Context(board()), (), 8)
    assert copy.hash() == before


def test_settings_of_another_target_are_refused() -> None:
    static: Setting = {"format": "int8", "weights": "int8", "activation": "int8-affine", "low": -1.0, "high": 1.0}
    with pytest.raises(RecipeError, match="computes with uint8 activations"):
        check_target({"first": static}, board())
    with pytest.raises(RecipeError, match="no MatMulNBits") as caught:
        check_target({"up": FOUR}, board("TensorrtExecutionProvider"))
    assert "site 'up'" in caught.value.where
    check_target({"first": {**static, "activation": "uint8"}, "up": FOUR}, board())
