"""Whole models that a latency model is judged on: classic families at random widths, depths and resolutions.

Convolutional families are built from the zoo's blocks, transformers and most modern networks by Hugging Face's own
code. `variant(family, seed)` is one of them; `latency_treatments.py` factorizes layers and drops blocks; pruning and
bits are passes and act on the captured program.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from latency_convolutional import CONVOLUTIONAL
from latency_draw import Built
from latency_hugging import HUGGING
from torch import Tensor, nn

from compressor.devices.latency.networks.parts import settle

__all__ = ["FAMILIES", "TRANSFORMERS", "Variant", "variant"]

FAMILIES: dict[str, Callable[[random.Random], Built]] = {**CONVOLUTIONAL, **HUGGING}  # a seed's family is by the order
TRANSFORMERS = tuple(HUGGING)  # their linear layers take weights in blocks


@dataclass(frozen=True)
class Variant:
    """A module with random weights and one batch of two."""

    family: str
    seed: int
    module: nn.Module
    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Tensor] = field(default_factory=dict)


def variant(family: str, seed: int) -> Variant:
    """The same one each time."""
    torch.manual_seed(seed)
    draw = random.Random(f"{family} {seed}")
    module, inputs = FAMILIES[family](draw)
    if isinstance(inputs, dict):
        return Variant(family, seed, module.eval(), (), inputs)
    settle(module.eval(), inputs)
    return Variant(family, seed, module, inputs)
