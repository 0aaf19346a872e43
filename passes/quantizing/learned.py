"""What training found for a quantized program, in place of what the weights and the calibration say by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from compressor.quant.blocks import Blocks

if TYPE_CHECKING:
    from compressor.passes.quantizing.integer import Pair

__all__ = ["NOTHING", "Learned"]


@dataclass(frozen=True)
class Learned:
    """Blocks by layer, int8 steps (an output channel) by weight, and each pair of activations as it became."""

    blocks: Mapping[str, Blocks] = field(default_factory=dict)
    steps: Mapping[str, Tensor] = field(default_factory=dict)
    pairs: Mapping[Pair, Pair] = field(default_factory=dict)


NOTHING = Learned()
