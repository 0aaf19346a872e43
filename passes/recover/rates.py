"""The default learning rate: by the kind of network, its width, and how much was lost.

    peak = base · min(4, 10^(1 − agreement))       agreement with the teacher before the first step, or the mean cosine
         = base                                    where the damage fades in while it trains: little is lost at any time
    base = 1e-3                                    for convolutional networks
         = min(1e-3, 3e-4 · √(384 / width))        for others (Vaswani et al., 2017, arXiv:1706.03762: d^−½)

What lost much has far to go, and what is nearly right is only disturbed by large steps (benchmarks/rates.py).
`width` is the median, over the original's linear layers, of their lesser side.
"""

from __future__ import annotations

import math
from statistics import median

from torch import Tensor

from compressor.graph.concrete import concrete_values
from compressor.graph.edit import argument, tensor_of
from compressor.graph.mode import batch_norms
from compressor.graph.program import Program
from compressor.graph.work import is_convolutional, kind_of

__all__ = ["base_rate", "plain_rate", "raised"]

CONVOLUTIONAL, OTHERS = 1e-3, 3e-4
WIDTH = 384  # at which that is the rate
MOST = 4  # times the base: more costs MiniLM and the ViT what the GPT gains


def base_rate(original: Program) -> float:
    """The peak where next to nothing was lost."""
    rate, width = plain_rate(original), _width(original)
    return rate if rate == CONVOLUTIONAL or not width else min(CONVOLUTIONAL, rate * math.sqrt(WIDTH / width))


def plain_rate(program: Program) -> float:
    """The same at any width: more for convolutions, which bear it."""
    convolves = is_convolutional(program.nodes(), concrete_values(program))
    return CONVOLUTIONAL if convolves or batch_norms(program) else OTHERS


def raised(agreement: float) -> float:
    """Times the base rate for a student that agrees so far with its teacher before it learns."""
    return float(min(MOST, 10 ** (1 - agreement)))


def _width(program: Program) -> float:
    """0 where no linear layer has a weight of its own."""
    found = (tensor_of(program, argument(node, "weight")) for node in program.nodes() if kind_of(node) == "linear")
    return median([min(weight.shape) for weight in found if isinstance(weight, Tensor)] or [0])
