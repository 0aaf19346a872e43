"""Modern families at random sizes, built by Hugging Face's own code: transformers and ConvNeXt."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from latency_draw import Built, side_of, wide_of
from torch import Tensor, nn

__all__ = ["HUGGING"]


def _hugging(kind: str, head: str, **sizes: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **sizes)
    model: nn.Module = getattr(transformers, head)(config)
    return model


def _pixels(side: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, side, side)}


def _convnext(draw: random.Random) -> Built:
    width, side = wide_of(draw, 64, 0.5, 1.2), side_of(draw, 96, 128, 160)
    return _hugging(
        "convnext", "ConvNextForImageClassification", hidden_sizes=[width, 2 * width, 4 * width, 8 * width],
        depths=[draw.randint(1, 3), draw.randint(1, 3), draw.randint(1, 5), draw.randint(1, 2)], num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _heads(draw: random.Random) -> tuple[int, int]:
    size = draw.choice((32, 64, 64))
    heads = draw.randint(3, 12) if size == 64 else draw.randint(4, 12)
    return heads, heads * size


def _vit(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    patch, side = draw.choice(((16, 224), (16, 160), (16, 128), (32, 224), (14, 112), (8, 64)))
    kind, head = "deit", "DeiTForImageClassification"
    if draw.random() < 0.6:
        kind, head = draw.choice(("vit", "deit")), "ViTForImageClassification"
    return _hugging(
        kind, head, hidden_size=width, num_attention_heads=heads, num_hidden_layers=draw.randint(2, 8),
        intermediate_size=round(width * draw.choice((2, 3, 4))), image_size=side, patch_size=patch, num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _swin(draw: random.Random) -> Built:
    width = 32 * draw.choice((1, 2, 3))
    side, window, stages = draw.choice(((112, 7, 3), (128, 4, 3), (224, 7, 3), (128, 8, 3)))
    heads = max(1, width // 32)
    return _hugging(
        "swin", "SwinForImageClassification", image_size=side, patch_size=4, window_size=window, embed_dim=width,
        depths=[draw.randint(1, 2) for _ in range(stages)], num_heads=[heads * 2**i for i in range(stages)],
        mlp_ratio=draw.choice((2.0, 3.0, 4.0)), num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _words(draw: random.Random, vocabulary: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, vocabulary, (2, draw.choice((16, 32, 64, 96, 128, 192))))}


def _bert(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(2000, 30000)
    sizes = {
        "hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": draw.randint(2, 8),
        "vocab_size": vocabulary, "intermediate_size": round(width * draw.choice((2, 3, 4))),
    }  # fmt: skip
    model = _hugging("bert", "BertForSequenceClassification", num_labels=draw.choice((2, 20)), **sizes)
    return model, _words(draw, vocabulary)


def _gpt(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(500, 8000)
    return _hugging(
        "gpt2", "GPT2LMHeadModel", n_embd=width, n_head=heads, n_layer=draw.randint(2, 8), vocab_size=vocabulary,
        n_inner=round(width * draw.choice((2, 3, 4))), use_cache=False,
    ), _words(draw, vocabulary)  # fmt: skip


def _llama(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(500, 8000)
    shared = heads // 2 if heads % 2 == 0 and draw.random() < 0.5 else heads
    return _hugging(
        "llama", "LlamaForCausalLM", hidden_size=width, num_attention_heads=heads, num_key_value_heads=shared,
        num_hidden_layers=draw.randint(2, 6), intermediate_size=round(width * draw.choice((2, 2.7, 3.5)) / 8) * 8,
        vocab_size=vocabulary, use_cache=False,
    ), _words(draw, vocabulary)  # fmt: skip


HUGGING: dict[str, Callable[[random.Random], Built]] = {
    "convnext": _convnext, "vit": _vit, "swin": _swin, "bert": _bert, "gpt": _gpt, "llama": _llama,
}  # fmt: skip
