"""Which weights stay zero while a pruned network is trained: M = (W ≠ 0), W ← W · M after every step."""

from __future__ import annotations

from torch import Tensor, nn

from compressor.graph.program import Program

__all__ = ["zeros_of"]


def zeros_of(program: Program) -> dict[str, Tensor]:
    """For each parameter that has zeros, true where it has none; a matrix or kernel that is all zeros is left out."""
    found: dict[str, Tensor] = {}
    for name, tensor in program.tensors().items():
        if isinstance(tensor, nn.Parameter) and tensor.dim() > 1:
            kept = tensor.detach() != 0
            if bool(kept.any()) and not bool(kept.all()):
                found[name] = kept
    return found
