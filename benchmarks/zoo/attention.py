"""Transformers written here: packed qkv, windows, mixers, decoders, rotary and grouped queries, encoder–decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from .entry import Built, floats, rows, tokens

__all__ = ["ARCHITECTURES"]


class PackedAttention(nn.Module):
    """Self-attention with one linear for q, k and v."""

    def __init__(self, width: int, heads: int, causal: bool = False, fused: bool = True) -> None:
        super().__init__()
        self.heads, self.causal, self.fused = heads, causal, fused
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
            y = (scores if bias is None else scores + bias).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, causal: bool = False, fused: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = PackedAttention(width, heads, causal, fused)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.first(x), bias)
        return x + self.mlp(self.second(x))


class VisionTransformer(nn.Module):
    """ViT with class token and learned positions."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 32)), nn.Parameter(torch.zeros(1, 17, 32))
        self.blocks = nn.Sequential(Block(32, 4, fused=fused), Block(32, 4, fused=fused))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Window(nn.Module):
    """(Shifted) window attention with a relative position bias table."""

    def __init__(self, width: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.side, self.window, self.shift = side, window, shift
        self.block = Block(width, heads, fused=False)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None]) + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1])

    def forward(self, x: Tensor) -> Tensor:
        n, c, w, m = x.shape[0], x.shape[-1], self.window, self.side // self.window
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, m, w, m, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)
        bias = self.table[self.index.view(-1)].view(w * w, w * w, -1).permute(2, 0, 1)
        x = self.block(x, bias[None])
        x = x.view(n, m, m, w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(n, self.side, self.side, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class Merge(nn.Module):
    """Patch merging: four neighbours into one, twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduce(self.norm(x))


class Windowed(nn.Module):
    """Swin-like hierarchy."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.body = nn.Sequential(Window(16, 2, 8, 4, 0), Window(16, 2, 8, 4, 2), Merge(16), Window(32, 4, 4, 4, 0))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.patch(x).permute(0, 2, 3, 1))).mean((1, 2)))


class Mixer(nn.Module):
    """MLP-Mixer: token mixing and channel mixing."""

    def __init__(self, length: int = 16, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.first, self.second, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(length, 32), nn.GELU(), nn.Linear(32, length))
        self.within = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = x + self.across(self.first(x).mT).mT
        x = x + self.within(self.second(x))
        return self.head(self.norm(x).mean(1))


class Gpt(nn.Module):
    """Decoder-only language model with the head tied to the embedding."""

    def __init__(
        self, layers: int = 6, width: int = 32, heads: int = 4, vocabulary: int = 96, context: int = 64
    ) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, causal=True) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class RmsNorm(nn.Module):
    """x / rms(x) · weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Grouped(nn.Module):
    """LLaMA-like block: RMS norm, rotary positions, grouped queries, SwiGLU."""

    def __init__(self, width: int = 32, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.first, self.second = RmsNorm(width), RmsNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, groups * self.size, bias=False)
        self.v = nn.Linear(width, groups * self.size, bias=False)
        self.gate, self.up = nn.Linear(width, 64, bias=False), nn.Linear(width, 64, bias=False)
        self.down = nn.Linear(64, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n, length, _ = x.shape
        y = self.first(x)
        q = self._turn(self.q(y).view(n, length, self.heads, self.size).transpose(1, 2), cos, sin)
        k = self._turn(self.k(y).view(n, length, self.groups, self.size).transpose(1, 2), cos, sin)
        v = self.v(y).view(n, length, self.groups, self.size).transpose(1, 2)
        k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, length, -1)
        x = x + self.o(y)
        y = self.second(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    @staticmethod
    def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin


class Llama(nn.Module):
    """The whole of it, rotary table in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(96, 32)
        self.blocks = nn.ModuleList(Grouped() for _ in range(2))
        self.norm, self.head = RmsNorm(32), nn.Linear(32, 96, bias=False)
        angle = torch.arange(64.0)[:, None] * 10000 ** (-torch.arange(0, 8, 2) / 8)
        self.register_buffer("cos", angle.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", angle.sin().repeat(1, 2), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x, length = self.words(ids), ids.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length])
        return self.head(self.norm(x))


class Linearized(nn.Module):
    """Linear attention: elu + 1 feature maps, keys and values summed first."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1
        y = q @ (k.mT @ self.v(x)) / (q @ k.sum(1, keepdim=True).mT)
        return self.head(self.norm(x + y).mean(1))


class Experts(nn.Module):
    """Dense mixture of experts: a softmax gate over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.up, self.down = nn.Parameter(torch.randn(4, 16, 32) / 4), nn.Parameter(torch.randn(4, 32, 16) / 6)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("nli,eio->nelo", x, self.up).relu()
        y = torch.einsum("nelo,eoi->neli", y, self.down)
        return torch.einsum("nle,neli->nli", self.gate(x).softmax(-1), y)


class Translator(nn.Module):
    """Encoder and decoder of PyTorch's own layers, with padding and causal masks."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(96, 32)
        self.net = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
        self.head = nn.Linear(32, 96)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        return self.head(self.net(self.words(source), self.words(target), tgt_mask=mask))


class Cross(nn.Module):
    """Encoder–decoder of our own: learned queries attend to an image's features; several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 32, 8, 8)
        self.encoder = Block(32, 4)
        self.queries = nn.Parameter(torch.randn(6, 32))
        self.cross, self.norm = nn.MultiheadAttention(32, 4, batch_first=True), nn.LayerNorm(32)
        self.classes, self.boxes = nn.Linear(32, 5), nn.Linear(32, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        memory = self.encoder(self.features(image).flatten(2).mT)
        queries = self.queries.expand(image.shape[0], -1, -1)
        x = self.norm(queries + self.cross(queries, memory, memory, need_weights=False)[0])
        return {"logits": self.classes(x), "boxes": self.boxes(x).sigmoid()}


def encoder(norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


ARCHITECTURES = rows("attention", {
    "vit-packed-qkv": lambda: Built(VisionTransformer(True), (floats(2, 3, 32, 32),)),
    "vit-explicit-softmax": lambda: Built(VisionTransformer(False), (floats(2, 3, 32, 32),)),
    "swin-windowed": lambda: Built(Windowed(), (floats(2, 3, 32, 32),)),
    "mlp-mixer": lambda: Built(Mixer(), (floats(2, 3, 32, 32),)),
    "gpt-6-layers": lambda: Built(Gpt(), (tokens(2, 16),)),
    "llama-grouped-rotary": lambda: Built(Llama(), (tokens(2, 16),)),
    "linear-attention": lambda: Built(Linearized(), (floats(2, 12, 16),)),
    "dense-experts": lambda: Built(Experts(), (floats(2, 12, 16),)),
    "torch-encoder-post-norm": lambda: Built(encoder(False), (floats(2, 12, 32),)),
    "torch-encoder-pre-norm": lambda: Built(encoder(True), (floats(2, 12, 32),)),
    "torch-encoder-decoder": lambda: Built(Translator(), (tokens(2, 12), tokens(2, 9))),
    "cross-attention-detector": lambda: Built(Cross(), (floats(2, 3, 32, 32),)),
})  # fmt: skip
