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

from compressor.devices.decoder_job import decoder_of
from compressor.devices.runner.decode import Decoder, chosen
from compressor.errors import ExportError, InputError, LoadError
from compressor.export.session import session
from compressor.export.verify import PACKED, Contents, open_bundle, unpacked

__all__ = ["TOKENIZER", "Talker", "open_talker"]

TOKENIZER = "tokenizer.json"
_MODEL = "model.onnx"


@dataclass
class Talker:
    """A decoder in ONNX Runtime. `ends` are ids that end a text; `seconds` of the latest text: until its first token,
    then of each further one."""

    name: str
    decoder: Decoder
    vocabulary: int
    ends: frozenset[int] = frozenset()
    tokenizer: Any = None
    seconds: list[float] = field(default_factory=list)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises InputError where the bundle has no tokenizer."""
        if self.tokenizer is None:
            raise InputError(
                "the bundle has no tokenizer", where="--prompt", way_out="Give token ids instead: --ids 1,2,3."
            )
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; the numbers themselves where there is no tokenizer."""
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        text: str = self.tokenizer.decode(list(ids))
        return text

    def stream(
        self, ids: Sequence[int], tokens: int, *, temperature: float = 0.0, top: int = 0, seed: int = 0
    ) -> Iterator[int]:
        """At most so many tokens behind these: the likeliest at temperature 0, else drawn, of the `top` likeliest alone
        where that is not 0. Ends at an end of text. Raises InputError for ids beyond the vocabulary and for none, and
        for a temperature that is none; ExportError where the model has no places left or its scores are no numbers."""
        if not ids or min(ids) < 0 or (self.vocabulary and max(ids) >= self.vocabulary):
            raise InputError(
                f"{max(ids)} is no token" if ids else "there are no tokens to begin with", where="--ids",
                way_out=f"Give one at least, each below {self.vocabulary}.",
            )  # fmt: skip
        if not 0 <= temperature < math.inf:
            raise InputError(f"{temperature} is no temperature", where="--temperature", way_out="Give 0 or more.")
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


def open_talker(bundle: Path, *, threads: int | None = None) -> Talker:
    """The decoder in a bundle. Raises LoadError for what is no sound bundle, InputError where it has no cache."""
    contents = open_bundle(bundle)
    said = _interface(contents)
    with unpacked(bundle / (PACKED if PACKED in contents.digests else _MODEL)) as model:
        loaded = session(model, threads)
    names = [output.name for output in loaded.get_outputs()]

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(zip(names, loaded.run(names, dict(feed)), strict=True))
        except Exception as error:  # each status of the runtime is a class of its own, all from Exception
            places = max(value.shape[-1] for name, value in feed.items() if name == said["tokens"])
            raise ExportError(
                f"ONNX Runtime fails on {places} tokens behind {decoder.places}: {str(error).splitlines()[0][:200]}",
                where=str(bundle), way_out="It may have no more places: give a shorter text, or fewer --tokens.",
            ) from error  # fmt: skip

    decoder = Decoder(run, contents.manifest["inputs"], said["tokens"], said["scores"])
    ends = said.get("end")
    return Talker(
        bundle.name, decoder, said["vocabulary"],
        frozenset(each for each in ends if isinstance(each, int)) if isinstance(ends, list) else frozenset(),
        _tokenizer(bundle / TOKENIZER) if TOKENIZER in contents.digests else None,
    )  # fmt: skip


def _interface(contents: Contents) -> Mapping[str, Any]:
    """What the manifest says of the decoder. Raises InputError where it is none."""
    said = decoder_of(contents)
    if said is None or not {_MODEL, PACKED} & contents.digests.keys():
        raise InputError(
            "holds no causal language model with a key–value cache", where=str(contents.path),
            way_out="Compress one for ONNX Runtime, without --no-kv-cache.",
        )  # fmt: skip
    return said


def _tokenizer(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise LoadError(f"is no tokenizer: {str(error)[:200]}", where=str(file)) from error
