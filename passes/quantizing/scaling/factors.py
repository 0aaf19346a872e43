"""What brings the values between a scaled layer and those that read it back to the units they were in.

x = s · (x/s)        for the value x/s that every layer from the source of a fold up to its consumers gives
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.kernels import layer_of
from compressor.graph.program import Program
from compressor.passes.quantizing.scaling.absorb import Fold, unit_numbers

__all__ = ["factors"]


def factors(program: Program, folds: Sequence[Fold]) -> dict[str, Tensor]:
    """By layer, what its output is multiplied with to be as it was before these folds were scaled. It broadcasts: along
    a dimension that it does not depend on there is one element."""
    folds = [fold for fold in folds if bool((fold.scale != 1).any())]
    if not folds:
        return {}
    last = {layer_of(node): node for node in program.graph.nodes if node.op == "call_function"}
    found: dict[str, Tensor] = {}
    for fold, numbers in zip(folds, unit_numbers(program, folds), strict=True):
        for layer, node in last.items():
            if (units := numbers.get(node)) is not None:
                own = torch.where(units >= 0, fold.scale[units.clamp(min=0)], torch.ones(()))
                found[layer] = found[layer] * own if layer in found else own
    return found
