"""Random small networks in the styles of the field, whose kernels a profile is made of.

A kernel is measured where it stands in a network, behind the kernel that made its input and before the one that reads
its output: alone it would find its weights in the nearest cache, in another layout, and fused with nothing. A network
here is a slice of a model, a dozen to three dozen kernels; its widths, sizes and depths are drawn from those that
people use and those that compression leaves behind (odd widths, low ranks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.devices.latency.networks.convolutional import (
    branched,
    dense,
    inverted,
    modern,
    plain,
    residual,
    separable,
    shuffled,
)  # fmt: skip
from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.devices.latency.networks.others import recurrent, upward
from compressor.devices.latency.networks.parts import conv, image, settle
from compressor.devices.latency.networks.transformers import decoder, encoder, mixed, modern_decoder, vision, windowed

__all__ = ["STYLES", "Network", "network", "reference"]

STYLES: dict[str, Callable[[Draw], Drawn]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        plain, residual, inverted, separable, dense, branched, shuffled, modern, encoder, decoder, modern_decoder,
        vision, windowed, mixed, upward, recurrent,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A module in eval mode with one batch of inputs; `style` names how it was drawn."""

    style: str
    seed: int
    module: nn.Module
    example: tuple[Tensor, ...]


def network(style: str, seed: int) -> Network:
    """The network that a style and a seed give, the same one each time."""
    torch.manual_seed(seed)
    module, example = STYLES[style](Draw(seed))
    settle(module.eval(), example)
    return Network(style, seed, module, example)


def reference() -> Network:
    """A small fixed network of all sorts of kernels: what tells one state of a machine from another."""
    torch.manual_seed(0)
    module = nn.Sequential(
        conv(16, 32), conv(32, 32, groups=32), conv(32, 64, 1), conv(64, 64, groups=64), conv(64, 64, 1),
        nn.MaxPool2d(2), conv(64, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1000),
    )  # fmt: skip
    example = image(16, 56)
    settle(module.eval(), example)
    return Network("reference", 0, module, example)
