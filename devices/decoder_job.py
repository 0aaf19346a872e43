"""What a board is given of a decoder with a key–value cache: one token behind others to time, and texts to answer.

    rounds   tokens [batch, 1], past of 128 places (or as many as the model has)     the time of a token
    decode   128 tokens read at once, then 32 one by one through the cache           first token, and each further one

Sizes that are fixed come from the golden vectors' arrays: a manifest may say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.export.verify import Contents
from compressor.graph.concrete import STEP
from compressor.graph.naming import BATCH, PAST, PAST_KEY_VALUES, SEQUENCE

__all__ = ["answering", "decoder_inputs", "decoder_of", "step_inputs"]

READ, STEPS = STEP[PAST], 32
_LEAST = 4  # places that a text, and what answers it, take


def decoder_of(bundle: Contents) -> Mapping[str, Any] | None:
    """What the manifest says of its decoder, where that fits the model's inputs and outputs; None where it has none."""
    said = bundle.manifest.get("decoder")
    if (
        not isinstance(said, dict)
        or said.get("tokens") not in bundle.inputs
        or said.get("scores") not in bundle.outputs
    ):
        return None
    whole = [said.get(name) for name in ("vocabulary", "places")]
    fits = all(type(size) is int for size in whole) and said["places"] >= _LEAST and said["vocabulary"] > 0
    if not fits or not all(_fits(name, _shape(bundle, name)) for name in bundle.inputs):
        return None
    return said if SEQUENCE in (_shape(bundle, said["tokens"]) or []) else None


def step_inputs(bundle: Contents, decoder: Mapping[str, Any], batch: int) -> dict[str, dict[str, Any]]:
    """One token behind others, drawn: what is in the cache takes no other time."""
    past = min(READ, decoder["places"] - 1)
    found: dict[str, dict[str, Any]] = {}
    for name in bundle.inputs:
        words, array = _shape(bundle, name) or [], bundle.golden[name]
        shape = [_size(word, size, batch, past) for word, size in zip(words, array.shape, strict=True)]
        low, high = _range(name, words, decoder, past, integer=array.dtype.kind in "iu")
        found[name] = {"shape": shape, "dtype": str(array.dtype), "low": low, "high": high}
    return found


def answering(bundle: Contents, decoder: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """The text that the board reads and how many tokens it says behind it."""
    steps = min(STEPS, decoder["places"] // 2)
    return {
        "inputs": decoder_inputs(bundle), "tokens": decoder["tokens"], "scores": decoder["scores"], "batch": batch,
        "vocabulary": decoder["vocabulary"], "read": min(READ, decoder["places"] - steps), "steps": steps,
    }  # fmt: skip


def decoder_inputs(bundle: Contents) -> list[dict[str, Any]]:
    """Its inputs as the manifest names their dimensions, with dtypes and fixed sizes from the golden arrays."""
    return [
        {"name": name, "dtype": str(bundle.golden[name].dtype), "shape": _named(bundle, name)} for name in bundle.inputs
    ]


def _shape(bundle: Contents, name: str) -> list[Any] | None:
    """An input's dimensions as the manifest has them, if it has as many as the golden array."""
    shape = next((entry.get("shape") for entry in bundle.manifest["inputs"] if entry.get("name") == name), None)
    return shape if isinstance(shape, list) and len(shape) == bundle.golden[name].ndim else None


def _fits(name: str, shape: list[Any] | None) -> bool:
    """Whether its dimensions are such as a decoder counts with."""
    grows = PAST if name.startswith(f"{PAST_KEY_VALUES}.") else SEQUENCE
    return shape is not None and all(
        type(word) is int
        or (isinstance(word, str) and (word in (BATCH, grows) or (grows != PAST and PAST in word and SEQUENCE in word)))
        for word in shape
    )


def _named(bundle: Contents, name: str) -> list[Any]:
    """The same with the golden array's sizes where they are fixed."""
    words = _shape(bundle, name) or []
    sizes = zip(words, bundle.golden[name].shape, strict=True)
    return [word if isinstance(word, str) else int(size) for word, size in sizes]


def _size(word: Any, size: int, batch: int, past: int) -> int:
    if not isinstance(word, str):
        return int(size)
    sizes = {BATCH: batch, PAST: past, SEQUENCE: 1}
    return sizes.get(word, past + 1 if PAST in word and SEQUENCE in word else int(size))


def _range(name: str, words: list[Any], decoder: Mapping[str, Any], past: int, *, integer: bool) -> tuple[float, float]:
    if name == decoder["tokens"]:
        return 0, decoder["vocabulary"]
    if any(isinstance(word, str) and PAST in word and SEQUENCE in word for word in words):
        return 1, 2
    if integer:
        return (past, past + 1) if "position" in name else (0, 1)
    return -1.0, 1.0
