"""Modules as TorchScript, whatever ran before in the process."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["scripted"]

ATTEMPTS = 5


def scripted(module: nn.Module) -> torch.jit.ScriptModule:
    """`torch.jit.script`. PyTorch tells its builtins by the `id` of functions, of which one may be gone by now
    (`torch.manual_seed` is registered and replaced): a list of the module that has come to lie in its place is taken
    for a builtin. A copy's lists lie elsewhere."""
    kept = [module]
    for _ in range(ATTEMPTS):
        try:
            return torch.jit.script(kept[-1])
        except RuntimeError as error:
            if "builtin cannot be used as a value" not in str(error):
                raise
            kept.append(copy.deepcopy(module))
    raise RuntimeError("every copy of the module lies where a builtin lay")
