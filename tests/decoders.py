"""Tiny causal language models with a key–value cache, random and yet of clear opinions about the next token."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.program import Program
from compressor.load import Loaded, to_program

__all__ = ["VOCABULARY", "Growing", "Windowed", "llama", "program_of", "texts", "tiny_decoder"]

VOCABULARY = 61


class Growing(nn.Module):
    """One block of attention over a cache [N, places, width], which it takes and gives as `{"states": …}`."""

    def __init__(self, width: int = 16, context: int = 64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, VOCABULARY)

    def forward(self, ids: Tensor, past_key_values: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        past = 0 if past_key_values is None else past_key_values["states"].shape[1]
        x = self.words(ids) + self.places(torch.arange(past, past + ids.shape[1]))
        states = x if past_key_values is None else torch.cat([past_key_values["states"], x], 1)
        places = torch.arange(states.shape[1])
        seen = places <= places[past:, None]
        one = states[:, None]  # head
        mixed = functional.scaled_dot_product_attention(self.q(x)[:, None], one, one, attn_mask=seen)
        return self.out(x + mixed[:, 0]), {"states": states}


class Windowed(nn.Module):
    """Attention to the last `window` places, and a cache that is cut to them: always (`cut`), where it is longer
    (`if`), or from a computed place on (`max`). What is asked for with the cache sees all that it holds."""

    def __init__(self, window: int, how: str = "cut", width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.window, self.how = window, how
        self.words, self.out = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, ids: Tensor, past_key_values: Any = None) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        x = self.words(ids)
        kept = self.k(x), self.v(x)
        if past_key_values is not None:
            kept = tuple(torch.cat(pair, 1) for pair in zip(past_key_values[0], kept, strict=True))
        places = torch.arange(kept[0].shape[1])
        asked = places[places.shape[0] - ids.shape[1] :, None]
        seen = (places <= asked) & (places > asked - self.window)
        key, value = (each[:, None] for each in kept)
        mixed = functional.scaled_dot_product_attention(self.q(x)[:, None], key, value, attn_mask=seen)
        return self.out(x + mixed[:, 0]), [tuple(map(self._cut, kept))]

    def _cut(self, kept: Tensor) -> Tensor:
        if self.how == "max":
            return kept[:, max(0, kept.shape[1] - self.window) :]
        return kept[:, -self.window :] if self.how == "cut" or kept.shape[1] > self.window else kept


def llama(*, layers: int = 2, positions: int = 256, **options: Any) -> nn.Module:
    """A Hugging Face LLaMA with grouped queries."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.3, **options,
    )  # fmt: skip
    model: nn.Module = transformers.LlamaForCausalLM(config).eval()
    return model


def program_of(model: nn.Module, *, mask: bool = True, name: str = "input_ids") -> Program:
    """Captured with its cache."""
    ids = torch.randint(1, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
    given = {name: ids, **({"attention_mask": torch.ones_like(ids)} if mask else {})}
    loaded = Loaded("net", "nn.Module", module=model)
    captured = to_program(loaded, (), given, synthetic=True, kv_cache=True)
    assert not captured.notes
    return captured.program


def texts(name: str, count: int = 20, length: int = 12) -> dict[str, Tensor]:
    """Tokens by chance, for `data`."""
    return {name: torch.randint(1, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(2))}


@functools.cache
def tiny_decoder() -> Program:
    """`Growing`, captured with its cache."""
    return program_of(Growing(), mask=False, name="ids")
