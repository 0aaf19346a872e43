"""What every style of random network must do: run at any size that is drawn, and be captured whole."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.graph.capture import capture

__all__ = ["Style", "is_captured", "runs_at_every_size"]

Style = Callable[[Draw], Drawn]


def runs_at_every_size(style: Style) -> None:
    for seed in range(8):
        torch.manual_seed(seed)
        module, example = style(Draw(seed))
        with torch.no_grad():
            assert module.eval()(*example).isfinite().all()


def is_captured(style: Style) -> None:
    torch.manual_seed(5)
    module, example = style(Draw(5))
    program = capture(module.eval(), example).program
    assert program.inputs[0].shape[0] == "batch"
