"""The words that a sequence model knows, and sentences as rows of numbers.

    row = Σ_words 1[word] + Σ_sizes (z, bumps)[field],   z = (x − μ_f) / σ_f,   bump_k = exp(−½ ((x − c_k) / δ)²)

A word that was not seen counts as its field's unknown, a field that was not seen as nothing. Sizes are held within
those that were seen.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.devices.latency.tokens import Sentence, Token

__all__ = ["Vocabulary", "vocabulary_of"]

Floats = NDArray[np.float64]
_UNKNOWN = "?"
_BUMPS = 5
_RARE = 3  # sentences that a word must be in to be one of its own
_SIZES = 1 + _BUMPS  # columns of a field of sizes
_MOST = 20_000  # words and fields that a file may hold


@dataclass(frozen=True)
class Vocabulary:
    """`words` as text; `sizes` the smallest and the greatest size seen of each field."""

    words: tuple[str, ...]
    sizes: Mapping[str, tuple[float, float]]

    @property
    def columns(self) -> int:
        return len(self.words) + _SIZES * len(self.sizes) + 1

    def encode(self, stream: Sequence[Sentence]) -> Floats:
        """Shape (sentences, columns); the last column is 1."""
        rows = np.zeros((len(stream), self.columns))
        rows[:, -1] = 1.0
        places, fields = self._places
        for row, sentence in zip(rows, stream, strict=True):
            for word in sentence.words:
                if word.size is None:
                    place = places.get(str(word), places.get(f"{word.field}:{_UNKNOWN}"))
                    if place is not None:
                        row[place] = 1.0
                elif word.field in fields:
                    start = fields[word.field]
                    row[start : start + _SIZES] = _size(word.size, *self.sizes[word.field])
        return rows

    def beyond(self, stream: Sequence[Sentence]) -> Floats:
        """1 for each sentence with a size beyond those seen by more than half, else 0."""
        slack = math.log2(1.5)
        return np.array([any(self._far(word, slack) for word in sentence.words) for sentence in stream], dtype=float)

    def _far(self, word: Token, slack: float) -> bool:
        low, high = self.sizes.get(word.field, (-math.inf, math.inf))
        return word.size is not None and not low - slack <= word.size <= high + slack

    @functools.cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        words = {word: place for place, word in enumerate(self.words)}
        return words, {field: len(words) + _SIZES * place for place, field in enumerate(self.sizes)}

    def to_json(self) -> dict[str, Any]:
        return {"words": list(self.words), "sizes": {field: list(seen) for field, seen in self.sizes.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Vocabulary:
        """Raises KeyError, TypeError or ValueError for what is none."""
        words = tuple(str(Token.parse(str(word))) for word in data["words"])
        sizes = {str(field): (float(low), float(high)) for field, (low, high) in data["sizes"].items()}
        if len(set(words)) != len(words) or len(words) + len(sizes) > _MOST:
            raise ValueError(f"{len(words)} words, which are no vocabulary")
        if any(not low <= high < math.inf for low, high in sizes.values()):
            raise ValueError("sizes that do not grow")
        return Vocabulary(words, sizes)


def vocabulary_of(streams: Iterable[Sequence[Sentence]]) -> Vocabulary:
    """What these streams are written in; rare words are unknown ones."""
    count: Counter[str] = Counter()
    sizes: dict[str, list[float]] = defaultdict(list)
    fields: set[str] = set()
    for sentence in (sentence for stream in streams for sentence in stream):
        for word in sentence.words:
            if word.size is not None:
                sizes[word.field].append(word.size)
            else:
                count[str(word)] += 1
                fields.add(word.field)
    words = sorted({word for word in count if count[word] >= _RARE} | {f"{field}:{_UNKNOWN}" for field in fields})
    return Vocabulary(tuple(words), {field: (min(seen), max(seen)) for field, seen in sorted(sizes.items())})


def _size(size: float, low: float, high: float) -> list[float]:
    """Between −1 and 1, and how near it is to each of the centres."""
    width = max(high - low, 1.0)
    place = (min(max(size, low), high) - low) / width
    bumps = [math.exp(-0.5 * ((place * (_BUMPS - 1) - k) / 0.7) ** 2) for k in range(_BUMPS)]
    return [2 * place - 1, *bumps]
