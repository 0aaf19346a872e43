"""Decoders in LLaMA's shape with random weights, made as their numbers are stored: no weight is ever a float first.

    RMSNorm · rotary places · grouped queries · SwiGLU · a head of its own

Weights are floats, or codes in blocks of 128 as the passes leave them (`int4`, `ternary`; embeddings have four bits).
What a token costs does not depend on what the weights are. `decoder_sizes.py` has their sizes.
"""

from __future__ import annotations

import torch
from decoder_sizes import Size
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.edit import is_call
from compressor.graph.program import Program

__all__ = ["FORMATS", "Llama", "with_products"]

BLOCK = 128
FORMATS = ("fp32", "int4", "ternary")
Cache = list[tuple[Tensor, Tensor]]  # a block's keys and values, [N, heads, P, size]


class Llama(nn.Module):
    """Logits [N, L, vocabulary] behind `past_key_values`, and the keys and values of all places until there."""

    def __init__(self, size: Size, format: str = "fp32") -> None:
        super().__init__()
        self.words = _Words(size, format)
        self.blocks = nn.ModuleList(_Block(size, format) for _ in range(size.depth))
        self.norm, self.head = _Norm(size.width), _linear(size.width, size.vocabulary, format)
        each = size.width // size.heads
        self.register_buffer("turns", 10000.0 ** (-torch.arange(0, each, 2) / each), persistent=False)

    def forward(self, ids: Tensor, past_key_values: Cache | None = None) -> tuple[Tensor, Cache]:
        past = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        x, kept = self.words(ids), []
        places = torch.arange(past + ids.shape[1])
        asked = places[past:]
        angles = torch.cat([asked[:, None] * self.turns] * 2, -1)
        seen = places <= asked[:, None]
        for index, block in enumerate(self.blocks):
            before = None if past_key_values is None else past_key_values[index]
            x, both = block(x, (angles.cos(), angles.sin()), seen, before)
            kept.append(both)
        return self.head(self.norm(x)), kept


@torch.library.custom_op("benchmarks::stand_in", mutates_args=())
def stand_in(x: Tensor, codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """What is captured in a product's place: it takes no time to compute, and capturing computes it many times."""
    times = -(-codes.shape[0] // x.shape[-1])
    return torch.cat([x] * times, -1)[..., : codes.shape[0]].contiguous()


@stand_in.register_fake
def _(x: Tensor, codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[0]))


def with_products(program: Program) -> Program:
    """The captured program with its products, whose inputs are rounded to int8 as the passes have it; in place."""
    for node in program.nodes():
        if is_call(node, torch.ops.benchmarks.stand_in.default):
            x, codes, scales, bits = node.args
            node.target = torch.ops.compressor.linear_blocks.default
            node.args = (x, codes, scales, None, bits, BLOCK, int(x.meta["val"].shape[-1]), True)  # type: ignore[union-attr]
    program.module.recompile()
    return program


class _Norm(nn.Module):
    """x / rms(x) · w, spelled as Hugging Face's models have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class _Codes(nn.Module):
    """A matrix (N, K) of codes by chance: of ternary ones a third each; their products keep their inputs' size."""

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        super().__init__()
        self.inputs, self.bits = inputs, bits
        shape = outputs, -(-inputs // BLOCK), BLOCK * bits // 8
        codes = torch.randint(0, 256, shape, dtype=torch.uint8)
        if bits == 2:  # fields of 0 would stand for −2
            for place in range(0, 8, 2):
                field = torch.randint(1, 4, shape, dtype=torch.uint8) << place
                codes = field if place == 0 else codes | field
        self.register_buffer("codes", codes)
        spread = (2 / 3) ** 0.5 if bits == 2 else 21.25**0.5
        self.register_buffer("scales", (0.75 + 0.5 * torch.rand(*shape[:2])) / (spread * inputs**0.5))


class _Linear(_Codes):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.benchmarks.stand_in(x, self.codes, self.scales, self.bits)  # type: ignore[no-any-return]


class _Words(nn.Module):
    """The embedding, in four bits at least."""

    def __init__(self, size: Size, format: str) -> None:
        super().__init__()
        self.width = size.width
        if format == "fp32":
            self.table: nn.Module = nn.Embedding(size.vocabulary, size.width)
        else:
            self.table = _Codes(size.width, size.vocabulary, 4)

    def forward(self, ids: Tensor) -> Tensor:
        if isinstance(self.table, nn.Embedding):
            return self.table(ids)  # type: ignore[no-any-return]
        table = self.table
        return torch.ops.compressor.embedding_blocks(  # type: ignore[no-any-return]
            table.codes, ids, table.scales, 4, BLOCK, self.width
        )


class _Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, size: Size, format: str) -> None:
        super().__init__()
        self.heads, self.groups, self.size = size.heads, size.groups, size.width // size.heads
        self.norm1, self.norm2 = _Norm(size.width), _Norm(size.width)
        self.q, self.out = (_linear(size.width, size.width, format) for _ in range(2))
        self.k, self.v = (_linear(size.width, size.groups * self.size, format) for _ in range(2))
        self.gate, self.up = (_linear(size.width, size.inner, format) for _ in range(2))
        self.down = _linear(size.inner, size.width, format)

    def forward(
        self, x: Tensor, turned: tuple[Tensor, Tensor], seen: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, kept = self._attention(self.norm1(x), turned, seen, past)
        x = x + mixed
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), kept

    def _attention(
        self, x: Tensor, turned: tuple[Tensor, Tensor], seen: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows, length, _ = x.shape
        q, k, v = (
            project(x).view(rows, length, heads, self.size).transpose(1, 2)
            for project, heads in ((self.q, self.heads), (self.k, self.groups), (self.v, self.groups))
        )
        q, k = _turn(q, *turned), _turn(k, *turned)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        keys, values = (_repeated(each, self.heads // self.groups) for each in (k, v))
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, self.heads * self.size)), (k, v)


def _linear(inputs: int, outputs: int, format: str) -> nn.Module:
    if format != "fp32":
        return _Linear(inputs, outputs, 2 if format == "ternary" else 4)
    layer = nn.Linear(inputs, outputs, bias=False, device="meta").to_empty(device="cpu")
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer


def _turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cosine + torch.cat([-x[..., half:], x[..., :half]], -1) * sine


def _repeated(x: Tensor, times: int) -> Tensor:
    """[N, groups, P, size] → [N, heads, P, size]."""
    rows, groups, places, size = x.shape
    if times == 1:
        return x
    return x[:, :, None].expand(rows, groups, times, places, size).reshape(rows, groups * times, places, size)
