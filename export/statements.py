"""What a manifest says of its model, held to the model: names, dtypes and shapes, a decoder's interface, bits a weight.

    inputs, outputs   dtype and shape of the golden arrays; a dimension's word is one size everywhere
    decoder           tokens, scores and vocabulary of those arrays
    weights           counted again in the file (`weight_bits.py`)

A manifest may be edited by hand, or be of another model: every value may be of any type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import CompressError
from compressor.export.pack import Part
from compressor.export.weight_bits import weight_bits

__all__ = ["miscounted", "misnamed"]

_COUNT = ("weights", "bits_on_disk", "bits_in_memory")
_FIELDS = {"ternary": "int2", "int3": "int4"}  # what holds their codes
_ROUNDED = 0.002  # bits; they are told in thousandths
_Arrays = Mapping[str, np.ndarray[Any, Any]]


def misnamed(manifest: Mapping[str, Any], arrays: _Arrays) -> Iterator[str]:
    """What is said of inputs, outputs and a decoder that the golden arrays are not, each a sentence. `inputs` and
    `outputs` are lists of objects whose names `arrays` has."""
    sizes: dict[str, int] = {}
    for key in ("inputs", "outputs"):
        for entry in manifest[key]:
            yield from _misshaped(f"manifest.json: {key}: {entry['name']!r}", entry, arrays[entry["name"]], sizes)
    if "decoder" in manifest:
        yield from _no_decoder(manifest["decoder"], manifest, arrays)


def miscounted(manifest: Mapping[str, Any], model: Path, parts: Iterable[Part]) -> Iterator[str]:
    """What is said of weights that a count in the model does not give; `parts` are those of the packed file."""
    if "weights" not in manifest:
        return
    try:
        counted = weight_bits(model, parts)
    except (CompressError, ValueError, KeyError, IndexError) as error:
        yield f"manifest.json: weights: they cannot be counted: {str(error)[:200]}"
        return
    yield from _differing("manifest.json: weights", _as_stored(manifest["weights"]), _as_stored(counted))


def _misshaped(
    where: str, entry: Mapping[str, Any], array: np.ndarray[Any, Any], sizes: dict[str, int]
) -> Iterator[str]:
    given, shape = entry.get("dtype"), entry.get("shape")
    same = str(array.dtype)
    if given != same and (given, same) != ("bfloat16", "float32"):  # which NumPy does not have
        yield f"{where} is said to be {_shown(given)}, the golden one is {same}"
    if not isinstance(shape, list) or len(shape) != array.ndim:
        yield f"{where} is said to have the shape {_shown(shape)}, the golden one has {array.shape}"
        return
    for word, size in zip(shape, array.shape, strict=True):
        plain = isinstance(word, str) and word.isidentifier()
        known = sizes.setdefault(word, size) if plain else size
        if known != size or not (isinstance(word, str) or (type(word) is int and word == size)):
            yield f"{where} is said to have the shape {_shown(shape)}, the golden one has {array.shape}"
            return


def _no_decoder(said: Any, manifest: Mapping[str, Any], arrays: _Arrays) -> Iterator[str]:
    where = "manifest.json: decoder"
    if not isinstance(said, dict):
        yield f"{where} is {_shown(said)}, not an object"
        return
    for name, key in (("tokens", "inputs"), ("scores", "outputs")):
        if said.get(name) not in [entry["name"] for entry in manifest[key]]:
            yield f"{where}: {name} is {_shown(said.get(name))}, which is none of the {key}"
    scores = arrays.get(said["scores"]) if isinstance(said.get("scores"), str) else None
    if scores is not None and said.get("vocabulary") != scores.shape[-1]:
        yield f"{where}: vocabulary is {_shown(said.get('vocabulary'))}, the scores are of {scores.shape[-1]} tokens"
    if type(said.get("places")) is not int or said["places"] < 1:
        yield f"{where}: places is {_shown(said.get('places'))}, not a number of places"


def _as_stored(said: Any) -> Any:
    """With formats by the fields that hold them: what a packed file told apart, its unpacked one does not."""
    formats = said.get("formats") if isinstance(said, dict) else None
    if not isinstance(formats, dict) or not all(_is_count(each) for each in formats.values()):
        return said
    found: dict[str, dict[str, float]] = {}
    for name, each in formats.items():
        total = found.setdefault(_FIELDS.get(str(name), str(name)), dict.fromkeys(_COUNT, 0))
        whole = total["weights"] + each["weights"]
        for key in _COUNT[1:]:
            total[key] = (total[key] * total["weights"] + each[key] * each["weights"]) / whole
        total["weights"] = whole
    return {**said, "formats": found}


def _is_count(value: Any) -> bool:
    """Whether it says how many weights there are, and their bits."""
    if not isinstance(value, dict) or set(value) != set(_COUNT):
        return False
    return all(type(value[key]) in (int, float) and 0 <= value[key] < 1e15 for key in _COUNT) and value["weights"] > 0


def _differing(where: str, said: Any, counted: Any) -> Iterator[str]:
    """Where two structures of numbers differ."""
    if isinstance(counted, Mapping):
        if not isinstance(said, Mapping):
            yield f"{where} is {_shown(said)}, not an object"
            return
        for key in sorted({*map(str, said), *counted}):
            if key not in said or key not in counted:
                yield f"{where}: {key[:40]!r} is {'missing' if key in counted else 'of no weights in the model'}"
            else:
                yield from _differing(f"{where}: {key}", said[key], counted[key])
    elif isinstance(said, bool) or not isinstance(said, int | float) or not abs(said - counted) < _ROUNDED:
        yield f"{where} is {_shown(said)}, the model has {counted:.8g}"


def _shown(value: Any) -> str:
    return repr(value)[:60]
