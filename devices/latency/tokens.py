"""The operator stream of a program as text: one sentence of words for each call that takes time, in order.

    conv2d  ▷  op:conv2d format:fp32 kernel:conv2d layout:blocked maker:relu window:3x3 … macs~24.25 written~16.5

A word is `field:value`, a size `field~log₂(1 + x)` in quarters of an octave. The intermediate representation is read
as text, its shapes as words among others (Das & Mannarswamy, "ML-driven Hardware Cost Model for MLIR", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.devices.latency.fusion import Fusion
from compressor.devices.latency.laws.context import contexts_of
from compressor.devices.latency.laws.geometry import convolution_of, pool_kernel, product_of
from compressor.devices.latency.laws.groups import group_of
from compressor.devices.latency.laws.numbers import Context, Numbers
from compressor.devices.latency.laws.reorders import ELEMENTS, reorders_of
from compressor.devices.latency.layout import Layout
from compressor.graph.calls import Call

__all__ = ["COPIES", "Sentence", "Token", "sentences_of"]

COPIES = "reorder"  # the operator of a copy between layouts, which is no call of the program
_STEPS = 4  # of an octave: the finest difference of sizes that a word tells
_DIMENSIONS = 4
_FELLOWS = 6
_MULTIPLES = (16, 8, 4)
_FEW = 5  # from which on a number among the arguments is a size and no axis


@dataclass(frozen=True, order=True)
class Token:
    """A word: `field` with a text, or with a `size` = log₂(1 + x) in quarters of an octave."""

    field: str
    value: str = ""
    size: float | None = None

    def __str__(self) -> str:
        return f"{self.field}:{self.value}" if self.size is None else f"{self.field}~{self.size:g}"

    @staticmethod
    def parse(text: str) -> Token:
        """The word that `str` wrote. Raises ValueError for what is none."""
        field, mark, value = text.partition(next((c for c in text if c in ":~"), ":"))
        if not field or not mark:
            raise ValueError(f"{text!r} is no word: field:value or field~size")
        return Token(field, value) if mark == ":" else Token(field, size=float(value))


@dataclass(frozen=True)
class Sentence:
    """What one call, or the copies between layouts booked on it, does. Multiply–accumulates and bytes moved."""

    name: str
    op: str
    words: tuple[Token, ...]
    macs: int
    bytes: float

    def __str__(self) -> str:
        return " ".join(map(str, self.words))


def sentences_of(calls: Sequence[Call], layout: Layout, fusion: Fusion) -> list[Sentence]:
    """The stream: the calls that take time of their own, each behind the copies that it makes necessary."""
    blocked = layout.blocked(calls)
    free = fusion.free(calls, blocked)
    contexts = contexts_of(calls, blocked, layout.core)
    copies = reorders_of(calls, blocked, layout.core)
    found = []
    for call in calls:
        context = contexts[call.name]
        for numbers in copies.get(call.name, ()):
            found.append(_copy(call, numbers, context))
        if call.name not in free:
            moved = float(call.bytes + call.read_bytes + call.weight_bytes)
            found.append(Sentence(call.name, call.op, tuple(_words(call, context)), call.macs, moved))
    return found


def _copy(call: Call, numbers: Numbers, context: Context) -> Sentence:
    """Elements are what the terms count; each is read and written once."""
    way, elements = next((key.split()[0], x) for key, x in numbers.terms.items() if key.endswith(" elements"))
    size = elements * ELEMENTS
    words = [_text("op", COPIES), _text("kind", COPIES), _text("way", way), _text("of", call.op)]
    words += [_size("elements", size), _size("network", context.network_bytes)]
    return Sentence(call.name, COPIES, tuple(words), 0, 8.0 * size)


def _words(call: Call, context: Context) -> Iterable[Token]:
    yield from (_text("op", call.op), _text("kind", call.kind), _text("format", call.format or "none"))
    yield from (_text("kernel", call.anchor or "none"), _text("main", str(int(call.main))))
    yield _text("class", group_of(call, context.blocked, context.core.lanes))
    yield _text("layout", "blocked" if context.blocked else "plain")
    yield from (_text("maker", context.maker or "input"), _text("shared", str(int(context.shared))))
    yield from (_text("reader", reader) for reader in call.readers[:3])
    yield from (_text("fellow", fellow) for fellow in sorted(set(call.fellows))[:_FELLOWS])
    yield from (_text("rank", str(len(call.shape))), _text("inputs", str(min(len(call.inputs), 4))))
    yield from _dimensions("out", call.shape)
    for place, operand in enumerate(call.inputs[:2]):
        yield from _dimensions(f"in{place}", operand.shape)
        yield _text(f"alike{place}", _likeness(operand.shape, call.shape))
    yield from _work(call, context)
    if call.kind in ("conv1d", "conv2d", "conv3d"):
        yield from _convolution(call)
    elif call.kind == "pool":
        yield _size("window", pool_kernel(call))
    elif call.kind in ("linear", "matmul", "attention"):
        yield from _product(call)
    else:
        yield from (_text("arguments", _plain(a)) for a in call.arguments if isinstance(a, (bool, int, str, tuple)))


def _work(call: Call, context: Context) -> Iterable[Token]:
    yield from (_size("macs", call.macs), _size("written", call.bytes), _size("read", call.read_bytes))
    yield from (_size("weights", call.weight_bytes), _size("elements", call.elements))
    yield from (_size("network", context.network_bytes), _size("network-weights", context.network_weight_bytes))


def _convolution(call: Call) -> Iterable[Token]:
    conv = convolution_of(call)
    if conv is None:
        return
    yield _text("window", "x".join(map(str, conv.kernel)))
    yield _text("stride", "x".join(map(str, conv.stride)))
    yield _text("groups", "depthwise" if conv.depthwise else "one" if conv.groups == 1 else "some")
    yield from (_size("groups", conv.groups), _size("area", conv.area), _size("pixels", conv.pixels))
    yield from (_size("channels", conv.channels // conv.groups), _size("filters", conv.filters))
    yield from (_multiple("channels", conv.channels), _multiple("filters", conv.filters), _multiple("row", conv.row))


def _product(call: Call) -> Iterable[Token]:
    product = product_of(call)
    if product is None:
        return
    yield from (_size("rows", product.rows), _size("inner", product.inner), _size("columns", product.columns))
    yield from (_size("batch", product.batch), _multiple("columns", product.columns), _multiple("rows", product.rows))


def _dimensions(field: str, shape: Sequence[int]) -> Iterable[Token]:
    """From the last, the one that lies together in memory."""
    for place, size in enumerate(reversed(shape[-_DIMENSIONS:]), start=1):
        yield _size(f"{field}-{place}", size)


def _likeness(one: Sequence[int], other: Sequence[int]) -> str:
    if tuple(one) == tuple(other):
        return "same"
    if math.prod(one) == math.prod(other):
        return "moved"
    return "last" if one and other and one[-1] == other[-1] else "other"


def _multiple(field: str, number: int) -> Token:
    return Token(f"{field}-of", str(next((m for m in _MULTIPLES if number % m == 0), 1)))


def _plain(argument: object) -> str:
    """Axes and switches as they are; what is a size says its word already, and is an n here."""
    if isinstance(argument, tuple):
        return ",".join(map(_plain, argument))
    return "n" if isinstance(argument, (int, float)) and abs(argument) >= _FEW else str(argument)


def _text(field: str, value: str) -> Token:
    return Token(field, value.replace(" ", "-"))


def _size(field: str, number: float) -> Token:
    return Token(field, size=round(_STEPS * math.log2(1 + max(number, 0.0))) / _STEPS)
