"""A tiny byte-level language model, trained for seconds on this project's licence, and its data."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program

__all__ = ["TinyGpt", "next_byte_loss", "text_batches", "tiny_gpt", "trained_gpt"]

LENGTH = 32
TEXT = Path(__file__).resolve().parents[1] / "LICENSE"


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        y = self.norm1(x)
        q, k, v = (f(y).reshape(n, length, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class TinyGpt(nn.Module):
    """Logits [N, L, 128] of the byte after each of [N, L]; the head is tied to the embedding."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(128, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, 2) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128, bias=False)
        for embedding in (self.words, self.places):
            nn.init.normal_(embedding.weight, std=0.05)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.norm(x))
        return scores


@functools.cache
def tiny_gpt(steps: int = 60) -> Program:
    """Trained on the first three quarters of the text."""
    torch.manual_seed(0)
    return trained_gpt(TinyGpt(), _lines()[:256], steps)


def trained_gpt(model: TinyGpt, lines: Tensor, steps: int) -> Program:
    """A model trained on the next byte of so many batches of lines."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        ids = lines[torch.randint(len(lines), (16,))]
        loss = functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return capture(model.eval(), (lines[:2],)).program


def text_batches(count: int = 8, size: int = 16) -> list[Batch]:
    """What the model was trained on."""
    return [{"ids": part} for part in _lines()[: count * size].split(size)]


def next_byte_loss(program: Program) -> float:
    """On text that was not trained on."""
    ids = _lines()[256:]
    [scores] = program.run([ids]).values()
    return float(functional.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))


def _lines() -> Tensor:
    text = torch.frombuffer(bytearray(TEXT.read_bytes()), dtype=torch.uint8).long().clamp(max=127)
    return text[: len(text) // LENGTH * LENGTH].reshape(-1, LENGTH)
