"""What transformers are put together from: attention in its many spellings, norms, MLPs, blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.devices.latency.networks.draw import Draw

__all__ = ["Attention", "Encoder", "Gated", "RmsNorm", "Stack", "head_sizes", "mask", "mlp"]


class Attention(nn.Module):
    """Self-attention with packed or separate projections, fused or spelled out, grouped heads, causal, low rank."""

    def __init__(self, draw: Draw, width: int, heads: int, inner: int, *, causal: bool, rotary: bool = False) -> None:
        super().__init__()
        self.heads, self.size, self.causal, self.rotary = heads, inner // heads, causal, rotary
        self.packed = draw.chance(0.5) and not rotary
        self.explicit, self.masked = draw.chance(0.25) and not causal, draw.chance(0.2)
        self.shared = heads // 2 if rotary and heads % 2 == 0 and draw.chance(0.5) else heads
        bias, rank = not rotary, draw.width(width / 6, width / 2) if draw.chance(0.15) else 0
        flat = draw.chance(0.15) and bias and not rank
        if self.packed:
            self.qkv = Product(width, 3 * inner) if flat else linear(width, 3 * inner, rank, bias)
        else:
            self.q = linear(width, inner, rank, bias)
            self.k, self.v = (linear(width, self.shared * self.size, rank, bias) for _ in range(2))
        self.out = Product(inner, width) if flat else linear(inner, width, rank, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, t, _ = x.shape
        if self.packed:
            q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q = self.q(x).view(n, t, self.heads, self.size).transpose(1, 2)
            k, v = (each(x).view(n, t, self.shared, self.size).transpose(1, 2) for each in (self.k, self.v))
        if self.rotary:
            q, k = _rotated(q), _rotated(k)
        if self.shared != self.heads:
            k, v = (each.repeat_interleave(self.heads // self.shared, 1) for each in (k, v))
        if self.explicit:
            scores = q @ k.transpose(-2, -1) * self.size**-0.5
            y = torch.softmax(scores if mask is None else scores.masked_fill(~mask, -1e9), -1) @ v
        else:
            if mask is None and self.masked:
                mask = torch.ones(n, 1, t, t, dtype=torch.bool)
            y = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal and mask is None)
        return self.out(y.transpose(1, 2).reshape(n, t, self.heads * self.size))  # type: ignore[no-any-return]


def _rotated(x: Tensor) -> Tensor:
    """Rotary position embedding, halves swapped."""
    half, steps = x.shape[-1] // 2, torch.arange(x.shape[-2], dtype=torch.float32)
    angles = steps[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.cat([angles, angles], -1)
    return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()


def linear(into: int, out: int, rank: int = 0, bias: bool = True) -> nn.Module:
    if not rank:
        return nn.Linear(into, out, bias)
    return nn.Sequential(nn.Linear(into, rank, bias=False), nn.Linear(rank, out, bias))


class Product(nn.Module):
    """A linear layer as some decoders spell it: rows flattened, the weight stored the other way round."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.weight, self.bias, self.out = (
            nn.Parameter(torch.randn(into, out) * 0.02),
            nn.Parameter(torch.zeros(out)),
            out,
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.out)


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class SpelledGelu(nn.Module):
    """GELU by its tanh, operator by operator, as GPT-2 has it."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Gated(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((width, inner),) * 2 + ((inner, width),)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """One transformer block; the norm before or after."""

    def __init__(self, mixer: nn.Module, mlp: nn.Module, norms: Sequence[nn.Module], before: bool) -> None:
        super().__init__()
        self.mixer, self.mlp, self.before = mixer, mlp, before
        self.one, self.two = norms

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        given = () if mask is None else (mask,)
        if self.before:
            x = x + self.mixer(self.one(x), *given)
            return x + self.mlp(self.two(x))  # type: ignore[no-any-return]
        x = self.one(x + self.mixer(x, *given))
        return self.two(x + self.mlp(x))  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Blocks one after the other, all with the same mask: `kind` as in `mask`, "" for none."""

    def __init__(self, kind: str, *blocks: nn.Module) -> None:
        super().__init__()
        self.kind, self.blocks = kind, nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        given = (mask(self.kind, x),) if self.kind else ()
        for block in self.blocks:
            x = block(x, *given)
        return x


def mask(kind: str, x: Tensor) -> Tensor:
    """Which tokens see which, [N or 1, 1, T, T], made from positions as models that are fed ids alone make it.

    "all": everyone; "causal": nobody looks ahead; "packed": causal within sequences that lie one behind the other.
    """
    n, t, _ = x.shape
    rows, columns = torch.arange(t)[None, None, :, None], torch.arange(t)[None, None, None, :]
    if kind == "all":
        return (rows >= 0).expand(n, 1, t, t)
    seen = columns <= rows
    if kind == "causal":
        return seen.expand(n, 1, t, t)
    positions = torch.arange(t)[None].expand(n, -1)
    sequence = (torch.diff(positions, prepend=positions[:, :1] - 1, dim=-1) != 1).cumsum(-1)
    batch = torch.arange(n)[:, None, None, None]
    return seen & (sequence[batch, rows] == sequence[batch, columns])


def mlp(draw: Draw, width: int) -> nn.Module:
    """Two layers with an activation between, of full or low rank."""
    inner = draw.width(width, width * 4)
    acts: list[Callable[[], nn.Module]] = [nn.GELU, nn.GELU, nn.ReLU, lambda: nn.GELU("tanh"), SpelledGelu]
    act = draw.pick(*acts)
    rank = draw.width(width / 6, width / 2) if draw.chance(0.2) else 0
    if not rank and draw.chance(0.15):
        return nn.Sequential(Product(width, inner), act(), Product(inner, width))
    return nn.Sequential(linear(width, inner, rank), act(), linear(inner, width, rank))


def head_sizes(draw: Draw, width: int) -> tuple[int, int]:
    """Number of heads, and their widths together."""
    size = draw.pick(16, 32, 32, 48, 64, 64, 64)
    heads = max(1, round(width / size * draw.pick(1.0, 1.0, 1.0, 0.5, 0.75)))
    return heads, heads * size
