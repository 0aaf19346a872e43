"""What is done to whole models besides the passes: layers of low rank, and blocks left out."""

from __future__ import annotations

import torch
from torch import nn
from zoo.blocks import Inverted, Residual

__all__ = ["dropped", "low_rank"]


@torch.no_grad()
def low_rank(module: nn.Module, share: float, smallest: int = 64) -> int:
    """Replace linear layers and 1×1 convolutions in place by pairs of `share` of their full rank; how many."""
    count = 0
    for name, child in list(module.named_children()):
        pair = _pair(child, share, smallest)
        if pair is None:
            count += low_rank(child, share, smallest)
        else:
            setattr(module, name, pair.eval())
            count += 1
    return count


def _pair(layer: nn.Module, share: float, smallest: int) -> nn.Module | None:
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() < 2 or min(weight.shape[:2]) < smallest:
        return None
    rank = max(8, round(share * min(weight.shape[:2])))
    if type(layer) is nn.Linear:
        bias = layer.bias is not None
        return nn.Sequential(nn.Linear(layer.in_features, rank, False), nn.Linear(rank, layer.out_features, bias))
    if type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1 and layer.stride == (1, 1):
        first = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
        return nn.Sequential(first, nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None))
    return None


def dropped(module: nn.Module) -> int:
    """Take out every other block that leaves its input's shape alone, in place; how many went."""
    count = 0
    for name, child in list(module.named_children()):
        if isinstance(child, nn.ModuleList) and len(child) > 1 and _is_stack(child):
            setattr(module, name, nn.ModuleList(list(child)[::2]))
            count += len(child) // 2
        else:
            count += dropped(child)
    blocks = [name for name, child in module.named_children() if _keeps_shape(child)]
    for name in blocks[1::2]:
        setattr(module, name, nn.Identity())
    return count + len(blocks[1::2])


def _is_stack(layers: nn.ModuleList) -> bool:
    """Whether all blocks are alike and hold the same shapes: a transformer's layers, not its stages."""
    if len({type(block) for block in layers}) > 1:
        return False
    return len({tuple(tuple(p.shape) for p in block.parameters()) for block in layers}) == 1


def _keeps_shape(block: nn.Module) -> bool:
    if isinstance(block, Residual):
        return isinstance(block.shortcut, nn.Identity)
    return isinstance(block, Inverted) and bool(block.residual)
