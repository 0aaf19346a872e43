"""Slices of transformers: encoders, decoders, vision, windows, mixers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.devices.latency.networks.attention import Attention, Encoder, Gated, RmsNorm, Stack, head_sizes, mlp
from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.devices.latency.networks.parts import image

__all__ = ["decoder", "encoder", "mixed", "modern_decoder", "vision", "windowed"]


class _Tokens(nn.Module):
    """An embedding with positions, the blocks, and a head on the first or on every token."""

    def __init__(
        self, embedding: nn.Module, positions: int, width: int, blocks: nn.Module, head: nn.Module, first: bool
    ) -> None:
        super().__init__()
        self.embedding, self.position = embedding, nn.Parameter(torch.randn(1, positions, width) * 0.02)
        self.blocks, self.head, self.first = blocks, head, first

    def forward(self, x: Tensor) -> Tensor:
        y = self.embedding(x)
        y = y + self.position[:, : y.shape[1]]
        y = self.blocks(y)
        return self.head(y[:, 0] if self.first else y)  # type: ignore[no-any-return]


class _Patches(nn.Module):
    def __init__(self, width: int, patch: int, token: bool) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width)) if token else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2)
        return y if self.token is None else torch.cat([self.token.expand(len(y), -1, -1), y], 1)


def encoder(draw: Draw) -> Drawn:
    """Text encoders: embeddings, attention, MLPs; BERT and its kin."""
    return _transformer(draw, causal=False, words=True)


def decoder(draw: Draw) -> Drawn:
    """Text decoders: causal, a head over the vocabulary; GPT's."""
    return _transformer(draw, causal=True, words=True)


def vision(draw: Draw) -> Drawn:
    """Vision transformers: patches, attention, MLPs; ViT and DeiT."""
    return _transformer(draw, causal=False, words=False)


def _transformer(draw: Draw, *, causal: bool, words: bool) -> Drawn:
    width, length = draw.width(64, 768), draw.between(16, 256)
    heads, inner = head_sizes(draw, width)
    before = causal or not words or draw.chance(0.3)
    kind = draw.pick("", "causal", "packed", "packed") if causal else draw.pick("", "", "all") if words else ""
    mixer = Attention(draw, width, heads, inner, causal=causal)
    blocks = Stack(kind, Encoder(mixer, mlp(draw, width), (nn.LayerNorm(width), nn.LayerNorm(width)), before))
    if words:
        embedding, positions, head, example = _text(draw, width, length, causal)
    else:
        embedding, positions, head, example = _picture(draw, width, length)
    model = _Tokens(embedding, positions, width, blocks, head, first=not causal and draw.chance(0.6))
    return model, (example,)


def _text(draw: Draw, width: int, length: int, causal: bool) -> tuple[nn.Module, int, nn.Module, Tensor]:
    """Embedding, positions, head and words."""
    vocabulary = draw.between(500, 30000)
    if causal:
        head: nn.Module = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, draw.between(200, 8000), bias=False))
    else:
        head = nn.Linear(width, draw.pick(2, 10, 100))
    return nn.Embedding(vocabulary, width), length, head, torch.randint(0, vocabulary, (2, length))


def _picture(draw: Draw, width: int, length: int) -> tuple[nn.Module, int, nn.Module, Tensor]:
    """Patches, their number, head and an image."""
    patch, token = draw.pick(4, 8, 14, 16, 16), draw.chance(0.5)
    across = max(3, round(length**0.5))
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, draw.pick(10, 100, 1000)))
    return _Patches(width, patch, token), across**2 + token, head, torch.randn(2, 3, across * patch, across * patch)


def modern_decoder(draw: Draw) -> Drawn:
    """Causal blocks with RMS norm, rotary positions, shared keys and gated MLPs, as in LLaMA."""
    width, length = draw.width(64, 640), draw.between(16, 192)
    heads, inner = head_sizes(draw, width)
    kind = draw.pick("", "causal", "packed", "packed")
    mixer = Attention(draw, width, heads, inner, causal=True, rotary=True)
    gated = Gated(width, draw.width(width, width * 3))
    blocks = Stack(kind, Encoder(mixer, gated, (RmsNorm(width), RmsNorm(width)), True))
    vocabulary = draw.between(500, 16000)
    head = nn.Sequential(RmsNorm(width), nn.Linear(width, min(vocabulary, 8000), bias=False))
    return nn.Sequential(nn.Embedding(vocabulary, width), blocks, head), (torch.randint(0, vocabulary, (2, length)),)


class _Window(nn.Module):
    """Attention within windows of a map [N, H, W, C], shifted or not."""

    def __init__(self, attention: nn.Module, window: int, shift: int) -> None:
        super().__init__()
        self.attention, self.window, self.shift = attention, window, shift

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        size = self.window
        y = torch.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x
        y = y.view(n, h // size, size, w // size, size, c).transpose(2, 3).reshape(-1, size * size, c)
        y = self.attention(y).view(n, h // size, w // size, size, size, c).transpose(2, 3).reshape(n, h, w, c)
        return torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y


class _Merge(nn.Module):
    """Four neighbours to one, twice the channels."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        return self.reduce(self.norm(torch.cat(parts, -1)))  # type: ignore[no-any-return]


class _Map(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.permute(0, 2, 3, 1)).mean((1, 2)))  # type: ignore[no-any-return]


def windowed(draw: Draw) -> Drawn:
    """Attention in shifted windows with patch merging, as in Swin."""
    width, window = draw.width(24, 384), draw.pick(4, 7, 7, 8)
    across = draw.pick(2, 4, 8) if width < 100 else draw.pick(2, 2, 4) if width < 200 else 2
    side = window * across
    first = width, side
    layers: list[nn.Module] = []
    for position in range(2):
        heads, inner = head_sizes(draw, width)
        mixer = _Window(Attention(draw, width, heads, inner, causal=False), window, window // 2 if position else 0)
        layers.append(Encoder(mixer, mlp(draw, width), (nn.LayerNorm(width), nn.LayerNorm(width)), True))
    if across % 2 == 0:
        out = draw.width(width * 1.5, width * 2)
        layers.append(_Merge(width, out))
        width = out
    return _Map(nn.Sequential(*layers), nn.Linear(width, draw.pick(10, 1000))), image(*first)


class _Turned(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


def mixed(draw: Draw) -> Drawn:
    """MLPs over tokens and over channels in turn, as in MLP-Mixer."""
    width, across, patch = draw.width(64, 512), draw.pick(7, 8, 10, 14), draw.pick(8, 16)
    tokens = across**2
    mixer = _Turned(mlp(draw, tokens))
    block = Encoder(mixer, mlp(draw, width), (nn.LayerNorm(width), nn.LayerNorm(width)), True)
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 100))
    model = _Tokens(_Patches(width, patch, False), tokens, width, block, head, first=False)
    return model, (torch.randn(2, 3, across * patch, across * patch),)
