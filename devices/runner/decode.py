"""A decoder with a key–value cache, step by step: the whole text first, then token after token behind what is kept.

    read:  tokens [n, l], past of 0 places        → scores [n, l, V]
    step:  one token each, past of l, l + 1, …    → scores [n, V]

The interface is what a bundle's manifest says: inputs by name with shapes in which `past`, `sequence` and sums of them
stand for what grows. Outputs called `present.…` are the next step's `past_key_values.…`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

import numpy as np

__all__ = ["Decoder", "chosen", "generated"]

PAST, SEQUENCE, BATCH = "past", "sequence", "batch"
_IN, _OUT = "past_key_values.", "present."
Arrays = Mapping[str, Any]


class Decoder:
    """`run` maps inputs to outputs, both by name; `inputs` are the manifest's; `tokens` is the input of token ids and
    `scores` the output [n, l, V]. `places` is how many it has read so far."""

    def __init__(
        self, run: Callable[[Arrays], Arrays], inputs: Sequence[Mapping[str, Any]], tokens: str, scores: str
    ) -> None:
        self.run, self.tokens, self.scores = run, tokens, scores
        self.specs = {str(spec["name"]): spec for spec in inputs}
        self.past: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.places = 0

    def read(self, given: Arrays) -> Any:
        """Begin with a text, and forget what came before. What `given` lacks besides the tokens is: a mask of ones,
        positions from 0, zeros."""
        rows, length = given[self.tokens].shape
        self.places = 0
        self.past = {name: _empty(spec, rows) for name, spec in self.specs.items() if name.startswith(_IN)}
        asked = [name for name in self.specs if name not in self.past]
        self.last = {name: given[name] if name in given else self._made(name, rows, length) for name in asked}
        return self._advance()

    def step(self, ids: Any) -> Any:
        """One token [n] of each text behind those so far; its scores [n, V]."""
        self.last = {name: self._next(name, value) for name, value in self.last.items()}
        dtype = self.specs[self.tokens]["dtype"]
        self.last[self.tokens] = np.asarray(ids).reshape(-1, 1).astype(dtype)
        return self._advance()[:, -1]

    def blank(self, places: int) -> Any:
        """Scores [1, 1, V] of a token at the last of so many places, behind zeros: whether the model has that many is
        what it shows. Nothing that was read is forgotten."""
        asked = [name for name in self.specs if not name.startswith(_IN)]
        made = {name: self._made(name, 1, places) for name in asked}
        last = {name: value if _is_whole(self.specs[name]) else self._end(name, value) for name, value in made.items()}
        past = {name: _empty(spec, 1, places - 1) for name, spec in self.specs.items() if name not in made}
        return self.run({**last, **past})[self.scores]

    def _advance(self) -> Any:
        results = self.run({**self.last, **self.past})
        self.past = {_IN + name[len(_OUT) :]: value for name, value in results.items() if name.startswith(_OUT)}
        self.places += self.last[self.tokens].shape[1]
        return results[self.scores]

    def _made(self, name: str, rows: int, length: int) -> Any:
        spec = self.specs[name]
        shape = [{BATCH: rows, SEQUENCE: length}.get(size, size) for size in spec["shape"]]
        if _is_whole(spec):
            return np.ones([length if isinstance(size, str) else size for size in shape], spec["dtype"])
        made = np.zeros(shape, spec["dtype"])
        return made + np.arange(length, dtype=spec["dtype"]) if "position" in name else made

    def _next(self, name: str, value: Any) -> Any:
        """What an input is for one place more: a mask grows, positions count on, anything else stays."""
        if _is_whole(self.specs[name]):
            return np.concatenate([value, np.ones_like(value[:, :1])], 1)
        end = self._end(name, value)
        return end + 1 if "position" in name and SEQUENCE in self.specs[name]["shape"] else end

    def _end(self, name: str, value: Any) -> Any:
        """Its last place; all of it where it has none."""
        return value[:, -1:] if SEQUENCE in self.specs[name]["shape"] else value


def generated(decoder: Decoder, given: Arrays, count: int, choose: Callable[[Any], Any]) -> Iterator[Any]:
    """`count` tokens [n] behind a text, one after the other; `choose` maps scores [n, V] to ids [n]."""
    ids = choose(decoder.read(given)[:, -1])
    for index in range(count):
        yield ids
        if index + 1 < count:
            ids = choose(decoder.step(ids))


def chosen(scores: Any, *, temperature: float = 0.0, top: int = 0, random: Any = None) -> Any:
    """Ids [n] from scores [n, V]: the highest at temperature 0, else drawn from softmax(scores / temperature), of the
    `top` highest alone where that is not 0."""
    if temperature <= 0:
        return scores.argmax(-1)
    scaled = scores.astype(np.float64)
    with np.errstate(over="ignore"):  # at a tiny temperature all but the highest are −∞
        scaled = (scaled - scaled.max(-1, keepdims=True)) / temperature
    if 0 < top < scaled.shape[-1]:
        least = np.partition(scaled, -top, axis=-1)[:, -top, None]
        scaled = np.where(scaled < least, -np.inf, scaled)
    shares = np.exp(scaled)
    shares /= shares.sum(-1, keepdims=True)
    return np.array([random.choice(len(row), p=row) for row in shares])


def _empty(spec: Mapping[str, Any], rows: int, places: int = 0) -> Any:
    return np.zeros([{BATCH: rows, PAST: places}.get(size, size) for size in spec["shape"]], spec["dtype"])


def _is_whole(spec: Mapping[str, Any]) -> bool:
    """Whether an input is as long as past and sequence together."""
    return any(isinstance(size, str) and PAST in size and SEQUENCE in size for size in spec["shape"])
