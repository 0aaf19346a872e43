"""What brings scaled values back: every layer is in its old units again, and a wrong one still shows."""

from __future__ import annotations

import pytest
import torch
from loud_channels import Attention, Convolutions, prepared
from torch import nn

from compressor.graph.edit import set_tensor
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.codes.rounding import NEAREST
from compressor.passes.quantizing.scaling.absorb import find_folds
from compressor.passes.quantizing.scaling.equalize import EqualizeChoice, Equalized, equalize
from compressor.passes.quantizing.scaling.factors import factors
from compressor.passes.quantizing.scaling.trial import trial_of
from compressor.report.layers import layer_errors


def equalized(net: nn.Module, choice: EqualizeChoice) -> tuple[Program, Program, Equalized, dict[str, torch.Tensor]]:
    program, context, x = prepared(net)
    copy, _ = functional_copy(program)
    trial = trial_of(copy, "int8", 128, "auto", NEAREST, context)
    found = equalize(copy, choice, trial, context.calibration, context)
    copy.module.recompile()
    return program, copy, found, {program.inputs[0].name: x}


@pytest.mark.parametrize("kind", [Attention, Convolutions])
@pytest.mark.parametrize("choice", ["smooth", "cross-layer"])
def test_every_layer_is_in_its_old_units_again(kind: type[nn.Module], choice: EqualizeChoice) -> None:
    torch.manual_seed(0)
    program, copy, found, batch = equalized(kind(), choice)
    raw = {entry.layer: entry.error for entry in layer_errors(program, copy, batch)}
    back = {entry.layer: entry.error for entry in layer_errors(program, copy, batch, found.rescaled)}
    assert raw.keys() == back.keys()
    assert max(raw.values()) > 0.005
    assert max(back.values()) < 1e-5


def test_a_gain_that_nobody_meant_still_shows() -> None:
    torch.manual_seed(0)
    program, copy, found, batch = equalized(Convolutions(), "cross-layer")
    assert "expand" in found.rescaled
    set_tensor(copy, "expand.weight", copy.get("expand.weight").detach() * 1.5)
    wrong = {entry.layer: entry.error for entry in layer_errors(program, copy, batch, found.rescaled)}
    assert wrong["expand"] > 0.3
    assert wrong["deep"] > 0.3


def test_what_was_not_scaled_has_none() -> None:
    program, _, _ = prepared(Convolutions())
    copy, _ = functional_copy(program)
    folds, _ = find_folds(copy)
    assert folds
    assert factors(copy, folds) == {}


def test_the_pass_says_them_and_says_them_again_from_its_settings() -> None:
    torch.manual_seed(0)
    program, context, _ = prepared(Convolutions())
    once = Quantize(max_error=9.0).run(program, context)
    again = Quantize(sites=once.settings).run(program, context)
    assert once.rescaled
    assert once.rescaled.keys() == again.rescaled.keys()
    assert all(torch.equal(once.rescaled[layer], again.rescaled[layer]) for layer in once.rescaled)
