"""Attention of floats as one function of TVM's TIR: for each head and a few queries at a time, scores never leave.

    y = softmax(s · q kᵀ + m) v          q (B, S, H, D), k (B, T, G, D), v (B, T, G, E) → y (B, S, H, E)

Head h reads the keys of h · G // H. Keys are turned once a head, so that lanes are keys; R queries meet V registers of
them, the scores of R queries wait in a buffer for their softmax, and meet the values then, whose lanes are channels.
Queries that see no key give zeros. With `causal`, query i sees keys up to i, and the others cost nothing.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.epilogue import pieces, vector
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.panel import body, function, splat, stacked, zeros
from compressor.export.kernels.vector_math import across, exp, fused

__all__ = ["Attention", "attention"]

_FEW = 4  # queries for which keys are not worth turning
_NOTHING = -math.inf


@dataclass(frozen=True)
class Attention:
    """What is computed: numbers None are known when it runs; `mask` are its sizes, 1 where it is the same for all.

    `first`: which of q, k and v have their heads before their length.
    """

    isa: Isa
    heads: int
    groups: int
    width: int
    values: int
    scale: float
    batch: int | None = None
    queries: int | None = None
    keys: int | None = None
    mask: tuple[int | None, ...] | None = None
    causal: bool = False
    first: tuple[bool, bool, bool] = (False, False, False)
    parallel: bool = True

    @property
    def rows(self) -> int:
        """Queries at once."""
        most = 6 if self.isa.registers >= 32 else 3
        return most if self.queries is None else min(most, self.queries)

    @property
    def vectors(self) -> int:
        """Registers of keys, or of channels, at once."""
        return 4 if self.isa.registers >= 32 else 3


def attention(spec: Attention, name: str = "attention") -> Any:
    """The function (q, k, v [, m float32], y), shaped as above."""
    with function(name) as builder:
        sizes = {each: getattr(spec, each) for each in ("batch", "queries", "keys")}
        batch, queries, keys = (tirx.Var(each, "int64") if size is None else size for each, size in sizes.items())
        shapes = (queries, spec.heads, spec.width), (keys, spec.groups, spec.width), (keys, spec.groups, spec.values)
        q, k, v = (
            T.arg(name, T.Buffer((batch, *((many, long) if ahead else (long, many)), wide), "float32"))
            for name, (long, many, wide), ahead in zip("qkv", shapes, spec.first, strict=True)
        )
        whole = batch, spec.heads, queries, keys
        shape = (
            None if spec.mask is None else [1 if size == 1 else of for size, of in zip(spec.mask, whole, strict=True)]
        )
        mask = None if shape is None else T.arg("m", T.Buffer(shape, "float32"))
        y = T.arg("y", T.Buffer((batch, queries, spec.heads, spec.values), "float32"))
        with body(), (T.parallel if spec.parallel else T.serial)(0, batch * spec.heads) as unit:
            sample, head = T.bind(unit // spec.heads), T.bind(unit % spec.heads)
            _Head(spec, q, k, v, mask, y, queries, keys, sample, head).run()
    return builder.get()


@dataclass(frozen=True)
class _Head:
    spec: Attention
    q: Any
    k: Any
    v: Any
    mask: Any
    y: Any
    queries: Any
    keys: Any
    sample: Any
    head: Any

    @property
    def group(self) -> Any:
        return self.head // (self.spec.heads // self.spec.groups)

    @property
    def columns(self) -> Any:
        """Registers of keys."""
        lanes = self.spec.isa.lanes
        return (self.keys + lanes - 1) // lanes

    def _of(self, place: int, row: Any, at: Any) -> Any:
        """What q, k or v (by its place) has of a query or a key."""
        buffer, head = (self.q, self.k, self.v)[place], self.group if place else self.head
        return buffer[self.sample, head, row, at] if self.spec.first[place] else buffer[self.sample, row, head, at]

    def run(self) -> None:
        spec, lanes = self.spec, self.spec.isa.lanes
        scores = T.alloc_buffer((spec.rows * self.columns * lanes,), "float32", scope="global")
        sums = stacked(spec.rows, "float32")
        if isinstance(self.queries, int):
            self._few(scores, sums) if self.queries < _FEW else self._many(scores, sums)
            return
        with T.If(self.queries < _FEW):
            with T.Then():
                self._few(scores, sums)
            with T.Else():
                self._many(scores, sums)

    def _many(self, scores: Any, sums: Any) -> None:
        """Some queries at a time, by keys that are turned for all of them."""
        spec, lanes = self.spec, self.spec.isa.lanes
        turned = T.alloc_buffer((spec.width * self.columns * lanes,), "float32", scope="global")
        self._turn(turned)
        with T.serial(0, (self.queries + spec.rows - 1) // spec.rows) as block:
            start = T.bind(block * spec.rows)
            rows = [T.bind(T.min(start + row, self.queries - 1)) for row in range(spec.rows)]
            seen = T.bind(T.min(self.keys, rows[-1] + 1) if spec.causal else self.keys)
            columns = T.bind((seen + lanes - 1) // lanes)
            self._score(turned, scores, rows, columns)
            with T.serial(0, spec.rows) as index:
                self._softmax(scores, sums, index, T.min(start + index, self.queries - 1), columns)
            self._weigh(scores, sums, rows, seen)

    def _few(self, scores: Any, sums: Any) -> None:
        """One query at a time, by keys as they are."""
        lanes, width = self.spec.isa.lanes, self.spec.width
        with T.serial(0, self.queries) as row:
            seen = T.bind(T.min(self.keys, row + 1) if self.spec.causal else self.keys)
            with T.serial(0, seen) as key:
                score = T.float32(0)
                for start, piece in pieces(width, lanes):
                    at = vector(start, piece)
                    product = self._of(0, row, at) * self._of(1, key, at)
                    score = score + across(product, piece, operator.add)
                T.buffer_store(scores, score * T.float32(self.spec.scale), [key])
            self._softmax(scores, sums, 0, row, T.bind((seen + lanes - 1) // lanes))
            self._weigh(scores, sums, [row], seen)

    def _turn(self, turned: Any) -> None:
        """Keys with their lanes apart: (width, keys), zeros behind the last key."""
        lanes = self.spec.isa.lanes
        with T.serial(0, self.columns) as column, T.serial(0, self.spec.width) as d:
            place = (d * self.columns + column) * lanes
            with T.serial(0, lanes) as lane:
                key = T.bind(T.min(column * lanes + lane, self.keys - 1))
                T.buffer_store(turned, self._of(1, key, d), [place + lane])

    def _score(self, turned: Any, scores: Any, rows: list[Any], columns: Any) -> None:
        """s · q kᵀ for all keys, some registers at a time."""
        vectors = self.spec.vectors
        with T.serial(0, columns // vectors) as tile:
            self._products(turned, scores, rows, tile * vectors, vectors)
        with T.serial(0, columns % vectors) as tile:
            self._products(turned, scores, rows, columns // vectors * vectors + tile, 1)

    def _products(self, turned: Any, scores: Any, rows: list[Any], column: Any, vectors: int) -> None:
        lanes, kind = self.spec.isa.lanes, f"float32x{self.spec.isa.lanes}"
        sums, every = zeros(len(rows) * vectors, "float32", lanes), vector(0, lanes)
        with T.serial(0, self.spec.width) as d:
            start = (d * self.columns + column) * lanes
            keys = [T.bind(turned.vload([start + each * lanes], kind)) for each in range(vectors)]
            for index, row in enumerate(rows):
                value = T.bind(splat(self._of(0, row, d), lanes))
                for key, total in zip(keys, sums[index * vectors :], strict=False):
                    T.buffer_store(total, fused(value, key, total[every], lanes), [every])
        for index in range(len(rows) * vectors):
            row, each = divmod(index, vectors)
            place = (row * self.columns + column + each) * lanes
            T.buffer_store(
                scores, sums[index][every] * splat(T.float32(self.spec.scale), lanes), [vector(place, lanes)]
            )

    def _softmax(self, scores: Any, sums: Any, index: int, row: Any, columns: Any) -> None:
        """e^(score − largest) in place, and their sum; what is not seen counts nothing."""
        lanes = self.spec.isa.lanes
        [total, largest], every = zeros(2, "float32", lanes), vector(0, lanes)
        if self.mask is not None:
            self._add_mask(scores, index, row)
        T.buffer_store(largest, splat(T.float32(_NOTHING), lanes), [every])
        with T.serial(0, columns) as column:
            place = vector((index * self.columns + column) * lanes, lanes)
            score = T.bind(self._seen(scores[place], row, column))
            T.buffer_store(scores, score, [place])
            T.buffer_store(largest, T.max(score, largest[every]), [every])
        top = T.bind(across(largest[every], lanes, T.max))
        top = T.bind(T.Select(top == T.float32(_NOTHING), T.float32(0), top))
        with T.serial(0, columns) as column:
            place = vector((index * self.columns + column) * lanes, lanes)
            score = T.bind(scores[place])
            power = T.bind(exp(score - splat(top, lanes), lanes))
            gone = score == splat(T.float32(_NOTHING), lanes)
            power = T.bind(T.Select(gone, splat(T.float32(0), lanes), power))
            T.buffer_store(scores, power, [place])
            T.buffer_store(total, total[every] + power, [every])
        T.buffer_store(sums, across(total[every], lanes, operator.add), [index])

    def _seen(self, score: Any, row: Any, column: Any) -> Any:
        """−∞ behind the last key that the query sees."""
        lanes = self.spec.isa.lanes
        end = T.min(self.keys, row + 1) if self.spec.causal else self.keys
        left = T.Cast("int32", end - column * lanes)
        lane = T.ramp(T.int32(0), 1, lanes)
        return T.Select(lane < splat(left, lanes), score, splat(T.float32(_NOTHING), lanes))

    def _add_mask(self, scores: Any, index: Any, row: Any) -> None:
        """To one query's scores."""
        sample, head, query, key = (size == 1 for size in self.spec.mask or ())
        at = 0 if sample else self.sample, 0 if head else self.head, 0 if query else row
        with T.serial(0, self.keys) as each:
            place = index * (self.columns * self.spec.isa.lanes) + each
            T.buffer_store(scores, scores[place] + self.mask[*at, 0 if key else each], [place])

    def _weigh(self, scores: Any, sums: Any, rows: list[Any], seen: Any) -> None:
        """The values' mean by weight, some registers of channels at a time."""
        lanes, vectors, values = self.spec.isa.lanes, self.spec.vectors, self.spec.values
        whole = values // lanes
        for first in range(0, whole, vectors):
            self._mean(scores, sums, rows, seen, first * lanes, min(vectors, whole - first), lanes)
        for start, piece in pieces(values % lanes, lanes):
            self._mean(scores, sums, rows, seen, whole * lanes + start, 1, piece)

    def _mean(
        self, scores: Any, totals: Any, rows: list[Any], seen: Any, channel: int, vectors: int, lanes: int
    ) -> None:
        sums, every = zeros(len(rows) * vectors, "float32", lanes), vector(0, lanes)
        with T.serial(0, seen) as key:
            channels = [vector(channel + index * lanes, lanes) for index in range(vectors)]
            values = [T.bind(self._of(2, key, at)) for at in channels]
            for index in range(len(rows)):
                weight = T.bind(splat(scores[index * self.columns * self.spec.isa.lanes + key], lanes))
                for value, total in zip(values, sums[index * vectors :], strict=False):
                    T.buffer_store(total, fused(weight, value, total[every], lanes), [every])
        for index, row in enumerate(rows):
            whole = T.bind(T.Select(totals[index] == T.float32(0), T.float32(0), T.float32(1) / totals[index]))
            for place in range(vectors):
                at = vector(channel + place * lanes, lanes)
                value = sums[index * vectors + place][every] * splat(whole, lanes)
                T.buffer_store(self.y, value, [self.sample, row, self.head, at])
