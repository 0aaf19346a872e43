"""A bundle of a causal language model, talked to: text or token ids in, one token after the other out.

    tokenizer.json ─▶ ids ─ read at once ─▶ token ─ cache ─▶ token ─ cache ─▶ …

Nothing of the bundle is trusted: it is checked as `compress verify` does before it is run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compressor.devices.decoder_job import decoder_inputs, decoder_of
from compressor.devices.runner.decode import Decoder, chosen
from compressor.errors import ExportError, InputError
from compressor.export.verify import Contents, open_bundle
from compressor.places import most_places
from compressor.running import running
from compressor.tokenizing import TOKENIZER, Tokenizer, open_tokenizer

__all__ = ["Talker", "open_talker"]


@dataclass
class Talker:
    """A decoder in its runtime. `ends` are ids that end a text; `seconds` of the latest text: until its first token,
    then of each further one. `places` it is known to have; `limit` is how many it was made for, where that is said."""

    name: str
    decoder: Decoder
    vocabulary: int
    ends: frozenset[int] = frozenset()
    tokenizer: Tokenizer | None = None
    places: int = 1
    limit: int | None = None
    seconds: list[float] = field(default_factory=list)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises InputError where the bundle has no tokenizer, and what that raises."""
        if self.tokenizer is None:
            raise InputError(
                "the bundle has no tokenizer", where="--prompt", way_out="Give token ids instead: --ids 1,2,3."
            )
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; the numbers themselves where there is no tokenizer."""
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        return self.tokenizer.decode(ids)

    def stream(
        self, ids: Sequence[int], tokens: int, *, temperature: float = 0.0, top: int = 0, seed: int = 0
    ) -> Iterator[int]:
        """At most so many tokens behind these: the likeliest at temperature 0, else drawn, of the `top` likeliest alone
        where that is not 0. Ends at an end of text. Raises InputError for ids beyond the vocabulary and for none, for
        a temperature that is none, and where the model has no places for so many; ExportError where its scores are no
        numbers."""
        if not ids or min(ids) < 0 or (self.vocabulary and max(ids) >= self.vocabulary):
            none = (
                f"{min(ids) if min(ids) < 0 else max(ids)} is no token" if ids else "there are no tokens to begin with"
            )
            raise InputError(none, where="--ids", way_out=f"Give one at least, each below {self.vocabulary}.")
        if not 0 <= temperature < math.inf:
            raise InputError(f"{temperature} is no temperature", where="--temperature", way_out="Give 0 or more.")
        self._check_places(len(ids), tokens)
        random, self.seconds, start = np.random.default_rng(seed), [], time.perf_counter()
        dtype = self.decoder.specs[self.decoder.tokens]["dtype"]
        scores = self.decoder.read({self.decoder.tokens: np.array([ids], dtype)})[:, -1]
        for place in range(tokens):
            if np.isnan(scores).any() or np.isposinf(scores).any():
                raise ExportError(
                    f"the scores behind {self.decoder.places} tokens are no numbers", where=self.name,
                    way_out="Compress it again without fp16, whose numbers end at 65504.",
                )  # fmt: skip
            token = int(chosen(scores, temperature=temperature, top=top, random=random)[0])
            self.seconds.append(time.perf_counter() - start)
            if token in self.ends:
                return
            yield token
            start = time.perf_counter()
            if place + 1 < tokens:
                scores = self.decoder.step([token])

    def _check_places(self, read: int, tokens: int) -> None:
        """Raises InputError where so many tokens behind `read` others are more than the model has places for; the last
        one is said and not read again."""
        needed = read + tokens - 1
        stated = self.limit is not None and needed > self.limit
        most = self.limit if stated else most_places(self.decoder, self.places, needed)
        if most is None:
            return
        left = most - read + 1
        raise InputError(
            f"{read} tokens and {tokens} more take {needed} places, the model has {most}", where=self.name,
            way_out=f"Give --tokens {left} at most, or a shorter text." if left > 0 else "Give a shorter text.",
        )  # fmt: skip


def open_talker(bundle: str | Path, *, threads: int | None = None, trust: bool = False) -> Talker:
    """The decoder in a bundle. Raises LoadError for what is no sound bundle, InputError where it has no cache, or has
    machine code that is not to be run without `trust`."""
    bundle = Path(bundle)
    contents = open_bundle(bundle)
    said = _interface(contents)
    runtime, loaded = running(contents, threads, trust=trust)

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        asked = feed[said["tokens"]].shape
        try:
            results = loaded(feed)
        except Exception as error:  # each status of a runtime is a class of its own, all from Exception
            raise ExportError(
                f"{runtime} fails on {asked[-1]} tokens behind {decoder.places}: "
                f"{str(error).splitlines()[0][:200]}",
                where=str(bundle), way_out="It may have no more places: give a shorter text, or fewer --tokens.",
            ) from error  # fmt: skip
        scores = results.get(said["scores"])
        if scores is None or scores.shape != (*asked, said["vocabulary"]):
            shape = "none" if scores is None else f"scores of the shape {scores.shape}"
            raise ExportError(f"{asked[-1]} tokens behind {decoder.places} get {shape}", where=str(bundle))
        return results

    decoder = Decoder(run, decoder_inputs(contents), said["tokens"], said["scores"])
    ends, limit = said.get("end"), said.get("limit")
    return Talker(
        bundle.name, decoder, said["vocabulary"],
        frozenset(each for each in ends if isinstance(each, int)) if isinstance(ends, list) else frozenset(),
        open_tokenizer(bundle / TOKENIZER, said["vocabulary"]) if TOKENIZER in contents.digests else None,
        said["places"], limit if type(limit) is int and limit > 0 else None,
    )  # fmt: skip


def _interface(contents: Contents) -> Mapping[str, Any]:
    """What the manifest says of the decoder. Raises InputError where it is none."""
    said = decoder_of(contents)
    if said is None:
        raise InputError(
            "holds no causal language model with a key–value cache", where=str(contents.path),
            way_out="Compress one without --no-kv-cache.",
        )  # fmt: skip
    return said
