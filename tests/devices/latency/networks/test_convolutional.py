"""Slices of networks: small, of any size that is drawn, and captured whole."""

from __future__ import annotations

import pytest
import torch

from compressor.devices.latency.networks.convolutional import (
    branched,
    dense,
    inverted,
    modern,
    plain,
    residual,
    separable,
    shuffled,
)
from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.graph.capture import capture

STYLES = [branched, dense, inverted, modern, plain, residual, separable, shuffled]


@pytest.mark.parametrize("style", STYLES)
def test_it_runs_at_every_size(style: object) -> None:
    assert callable(style)
    for seed in range(8):
        torch.manual_seed(seed)
        drawn: Drawn = style(Draw(seed))
        with torch.no_grad():
            output = drawn[0].eval()(*drawn[1])
        assert output.isfinite().all()


@pytest.mark.parametrize("style", STYLES)
def test_it_is_captured(style: object) -> None:
    assert callable(style)
    torch.manual_seed(5)
    module, example = style(Draw(5))
    program = capture(module.eval(), example).program
    assert program.inputs[0].shape[0] == "batch"
