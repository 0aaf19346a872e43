"""What the zoo holds: a name, a family, and a builder of a randomized network with example inputs.

Random weights are enough to test a compiler, but not *freshly initialized* ones: a norm of ones and zeros, a bias of
zeros or a layer scale of 1e-6 would make wrong rewrites look right. `randomized` therefore gives every constant
parameter a spread, every weight unit gain, and batch norms the statistics of real activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Architecture", "Built", "floats", "randomized", "tokens"]


@dataclass(frozen=True)
class Built:
    """A network in eval mode and one batch for it."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """One row of the benchmark."""

    name: str
    family: str
    make: Callable[[], Built]

    def build(self, seed: int = 0) -> Built:
        """The network with seeded, spread-out weights."""
        torch.manual_seed(seed)
        built = self.make()
        randomized(built)
        return built


def floats(*shape: int) -> Tensor:
    """Standard normal input."""
    return torch.randn(*shape)


def tokens(*shape: int, below: int = 90, above: int = 3) -> Tensor:
    """Token ids clear of the special ones."""
    return torch.randint(above, below, shape)


@torch.no_grad()
def randomized(built: Built) -> None:
    """Spread constant parameters, give weights unit gain, and fit batch norms to one batch; leaves eval mode."""
    for module in built.module.modules():
        for name, parameter in module.named_parameters(recurse=False):
            _spread(module, name, parameter)
    norms = [m for m in built.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    built.module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    if norms:
        args, kwargs = pytree.tree_map(_many, (built.args, dict(built.kwargs)))
        built.module(*args, **kwargs)
    built.module.eval()


def _spread(module: nn.Module, name: str, parameter: Tensor) -> None:
    if not parameter.is_floating_point():
        return
    weighted = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)
    if name == "weight" and (isinstance(module, weighted) or type(module).__name__ == "Conv1D"):
        fan_in = parameter[0].numel() if type(module).__name__ != "Conv1D" else parameter.shape[0]
        parameter.normal_(0.0, fan_in**-0.5)
    elif isinstance(module, nn.Embedding):
        parameter.normal_(0.0, 0.5)
    elif parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
        parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _many(leaf: Any) -> Any:
    """The batch eight times over, each different where it is real-valued."""
    if not isinstance(leaf, Tensor) or leaf.dim() == 0:
        return leaf
    many = torch.cat([leaf] * 8)
    return many + torch.randn_like(many) if many.is_floating_point() else many


def rows(family: str, table: Mapping[str, Callable[[], Built]]) -> Sequence[Architecture]:
    """A family's table as architectures."""
    return [Architecture(name, family, make) for name, make in table.items()]
