"""Torch-Pruning's DepGraph on the trained baselines, configured as its documentation asks: heads and outputs declared.

    group magnitude (p = 2), the same ratio in every layer, found by bisection to the MACs asked

Widths are rounded as ours where that comes within 3% of those, else to less, down to single channels.

(Fang et al., 2023, arXiv:2301.12900; package torch-pruning.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from models import load
from torch import Tensor, nn

__all__ = ["pruned"]

BISECTIONS = 10
NEAR = 0.97


def pruned(name: str, example: Tensor, macs: float, multiple: int, count: Callable[[nn.Module], float]) -> nn.Module:
    """The baseline with at most `macs` multiply–accumulates, as `count` counts them for both.

    Whatever the package raises passes through.
    """
    best, most = None, 0.0
    while multiple >= 1 and most < NEAR * macs:
        low, high = 0.0, 0.95
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            candidate = _cut(name, example, middle, multiple)
            found = count(candidate)
            if found > macs:
                low = middle
                continue
            high = middle
            if found > most:
                best, most = candidate, found
        multiple //= 2
    if best is None:
        raise ArithmeticError(f"no ratio reaches {macs:.3g} MACs")
    with torch.no_grad():
        best(example)
    return best


def _cut(name: str, example: Tensor, ratio: float, multiple: int) -> nn.Module:
    import torch_pruning as tp

    model = copy.deepcopy(load(name))
    attentions = [m for m in model.modules() if hasattr(m, "qkv")]
    options: dict[str, Any] = {"num_heads": {m.qkv: m.heads for m in attentions}, "prune_head_dims": True}
    if hasattr(model, "positions"):
        options["unwrapped_parameters"] = [(model.positions, 2)]
    pruner = tp.pruner.BasePruner(
        model, example, importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=ratio,
        ignored_layers=[_head(model)], round_to=multiple, global_pruning=False, **options,
    )  # fmt: skip
    pruner.step()
    for attention in attentions:  # the module's own constants, as the package's examples do
        attention.size = attention.qkv.out_features // 3 // attention.heads
    return model.eval()


def _head(model: nn.Module) -> nn.Module:
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
