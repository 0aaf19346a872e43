"""A byte-level GPT: pre-norm blocks, separate query, key and value, the head tied to the embedding.

Given the keys and values of the bytes before, it goes on behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

__all__ = ["CONTEXT", "Gpt"]

CONTEXT = 128  # bytes that it sees
VOCABULARY = 256
Cache = list[tuple[Tensor, Tensor]]  # a block's keys and values, [N, heads, P, size]


class Attention(nn.Module):
    """Causal self-attention; `past` are the keys and values of places before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, _ = x.shape
        q, k, v = (
            project(x).reshape(batch, length, self.heads, self.size).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        if past is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            places = torch.arange(k.shape[2], device=x.device)
            seen = places <= places[past[0].shape[2] :, None]
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.size)), (k, v)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, kept = self.attention(self.norm1(x), past)
        x = x + mixed
        return x + self.mlp(self.norm2(x)), kept


class Gpt(nn.Module):
    """Logits [N, L, 256] of the byte after each of [N, L] bytes, at most 128 with those before; with `use_cache` also
    the keys and values of all of them."""

    def __init__(self, width: int = 160, depth: int = 6, heads: int = 4, context: int = CONTEXT) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.head.weight = self.words.weight

    def forward(
        self, ids: Tensor, past_key_values: Cache | None = None, use_cache: bool = False
    ) -> Tensor | tuple[Tensor, Cache]:
        past = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        x = self.words(ids) + self.positions(torch.arange(past, past + ids.shape[1], device=ids.device))
        kept: Cache = []
        for index, block in enumerate(self.blocks):
            x, keys_and_values = block(x, None if past_key_values is None else past_key_values[index])
            kept.append(keys_and_values)
        scores = self.head(self.norm(x))
        return (scores, kept) if use_cache else scores
