"""A device's latency model over tokens: a small convolutional network reads the operator stream and prices each call.

    nominal  n_i = e^a + e^b macs_i + e^c bytes_i                                             microseconds
    words    h_i = tanh(Σ_words E[word] + Σ_sizes φ(size) E[field])                           each call by itself
    stream   g_i = relu(W₋ h_{i−1} + W₀ h_i + W₊ h_{i+1} + v)                                 and its neighbours
    time     t_i = n_i · exp(w · g_i + u · h_i + s),   t(network) = Σ t_i,  mean over members of ln t_i

A few members are trained, each without some of the networks; what these are off by is the interval's width, as in
`learned.py`. φ(x) are x and a row of bumps over the sizes seen: words of near sizes are near. Sizes beyond those are
taken for the greatest or the smallest that was, so that only the nominal work goes on. A word that was not seen is its
field's "unknown". Predicting is numpy alone (Das & Mannarswamy, "ML-driven Hardware Cost Model for MLIR", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compressor.devices.latency.fusion import Fusion
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.predicted import Predicted
from compressor.devices.latency.tokens import COPIES, Sentence, sentences_of
from compressor.devices.latency.vocabulary import Vocabulary
from compressor.graph.calls import Call

__all__ = ["Member", "SequenceModel", "work_of"]

Floats = NDArray[np.float64]
_VERSION = 2
_CORRECTION = 5.0  # the most that ln(t / nominal) may be: of a damaged or a strange network, not of any seen
_DIGITS = 5
_PARTS = ("nominal", "embed", "before", "own", "after", "shift", "out", "skip", "constant")
_MEMBERS, _WIDTH = 16, 256  # the most that a file may hold


@dataclass(frozen=True, eq=False)
class Member:
    """One network's numbers. Shapes with C columns of the vocabulary and width D: `nominal` (3,), `embed` (C, D);
    `before`, `own` and `after` (D, D); `shift`, `out` and `skip` (D,); `constant` (1,)."""

    nominal: Floats
    embed: Floats
    before: Floats
    own: Floats
    after: Floats
    shift: Floats
    out: Floats
    skip: Floats
    constant: Floats

    def logs(self, rows: Floats, work: Floats) -> Floats:
        """ln microseconds of each of a stream's sentences: encoded `rows` (N, C), `work` (N, 2) in macs and bytes."""
        own = np.tanh(rows @ self.embed)
        none = np.zeros((1, own.shape[1]))
        before, after = np.vstack([none, own[:-1]]), np.vstack([own[1:], none])
        mixed = np.maximum(before @ self.before + own @ self.own + after @ self.after + self.shift, 0.0)
        correction = mixed @ self.out + own @ self.skip + self.constant[0]
        first, per_mac, per_byte = np.exp(self.nominal)
        nominal = np.log(first + per_mac * work[:, 0] + per_byte * work[:, 1])
        return np.asarray(nominal + np.clip(correction, -_CORRECTION, _CORRECTION))

    def to_json(self) -> dict[str, Any]:
        return {part: _rounded(getattr(self, part)) for part in _PARTS}

    @staticmethod
    def from_json(data: Mapping[str, Any], columns: int) -> Member:
        """Raises KeyError, TypeError or ValueError for what does not fit a vocabulary of so many columns."""
        parts = {part: np.array(data[part], dtype=np.float64) for part in _PARTS}
        width = len(parts["shift"])
        wanted = {
            "nominal": (3,), "embed": (columns, width), **dict.fromkeys(("before", "own", "after"), (width, width)),
            **dict.fromkeys(("shift", "out", "skip"), (width,)), "constant": (1,),
        }  # fmt: skip
        for part, array in parts.items():
            if array.shape != wanted[part] or not np.isfinite(array).all() or width > _WIDTH:
                raise ValueError(f"{part} of shape {array.shape}, where {wanted[part]} finite numbers are read")
        return Member(**parts)


@dataclass(frozen=True)
class SequenceModel:
    """`operators` are those profiled, `spread` the interval's half width in ln t, as in `Learned`."""

    kind: ClassVar[str] = "tokens"
    layout: Layout
    fusion: Fusion
    vocabulary: Vocabulary
    members: tuple[Member, ...]
    operators: frozenset[str]
    spread: float = 0.3
    threads: int = 1

    def predict(self, calls: Sequence[Call]) -> Predicted:
        """What an inference of a network of these calls takes."""
        times = dict.fromkeys((call.name for call in calls), 0.0)
        stream = sentences_of(calls, self.layout, self.fusion)
        found = self.priced(stream)
        for sentence, time in zip(stream, found, strict=True):
            times[sentence.name] += float(time)
        total = sum(times.values())
        strange = [s.op not in self.operators and s.op != COPIES for s in stream]
        unknown = sum(time for time, odd in zip(found, strange, strict=True) if odd)
        beyond = float(found @ self.vocabulary.beyond(stream)) if stream else 0.0
        share = max(total, 1e-9)
        wide = self.spread + math.log(1 + 2 * unknown / share + 0.5 * beyond / share)
        timed = sum(sentence.op != COPIES for sentence in stream)
        covered = 1 - sum(strange) / timed if timed else 1.0
        names = tuple(sorted({s.op for s, odd in zip(stream, strange, strict=True) if odd}))
        return Predicted(total, total * math.exp(-wide), total * math.exp(wide), times, covered, names)

    def priced(self, stream: Sequence[Sentence]) -> Floats:
        """Microseconds of each sentence."""
        if not stream:
            return np.zeros(0)
        rows, work = self.vocabulary.encode(stream), work_of(stream)
        return np.asarray(np.exp(np.mean([member.logs(rows, work) for member in self.members], axis=0)))

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.kind, "version": _VERSION, "layout": self.layout.to_json(), "fusion": self.fusion.to_json(),
            "vocabulary": self.vocabulary.to_json(), "members": [member.to_json() for member in self.members],
            "operators": sorted(self.operators), "spread": self.spread, "threads": self.threads,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SequenceModel:
        """Raises KeyError, TypeError or ValueError for what is none."""
        if data["version"] != _VERSION:
            raise ValueError(f"a token model of version {data['version']}, where this reads {_VERSION}")
        vocabulary = Vocabulary.from_json(data["vocabulary"])
        members = tuple(Member.from_json(each, vocabulary.columns) for each in data["members"])
        if not 0 < len(members) <= _MEMBERS:
            raise ValueError(f"{len(members)} members, where 1 to {_MEMBERS} are read")
        spread, threads = float(data["spread"]), int(data["threads"])
        if not 0 <= spread < math.inf or threads < 1:
            raise ValueError(f"a spread of {spread} at {threads} threads")
        return cls(
            Layout.from_json(data["layout"]), Fusion.from_json(data["fusion"]), vocabulary, members,
            frozenset(map(str, data["operators"])), spread, threads,
        )  # fmt: skip


def work_of(stream: Sequence[Sentence]) -> Floats:
    """Multiply–accumulates and bytes of each sentence, shape (N, 2)."""
    return np.array([(sentence.macs, sentence.bytes) for sentence in stream], dtype=np.float64).reshape(-1, 2)


def _rounded(array: Floats) -> Any:
    if array.ndim > 1:
        return [_rounded(row) for row in array]
    return [float(f"{value:.{_DIGITS}g}") for value in array]
