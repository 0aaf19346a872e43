"""From a packed model file back to the very bytes that a runtime loads. It needs NumPy and nothing of this project.

    python3 unpack.py model.onnx.pack model.onnx

    PACK = magic, length of the header, header, the file's bytes without its parts, the parts one after the other

A part is a run of the file's bytes that a codec says shorter: fields of 2 bits that hold −1, 0 and 1 as 1, 2 and 3
(`trits`, five a byte; `words`, rows in the dictionary of `dictionary.py`), fields of 4 bits of which half are used
(`bits3`: 4 … 11), or values of four bytes of which each row repeats one (`repeat`: scales). The header is JSON:
{"version", "bytes", "sha256", "parts": [{"offset", "bytes", "codec", "packed", "rows", "zeros"}]}.
Python 3.8 does. Nothing is believed: sizes are compared before anything is allocated, and the result with its SHA-256.
A file becomes no more than seven times as long: `words` make 7 bytes of 2, `trits` 5 of 4, and what is repeated
is no more than all else, for a scale has four bytes and so have the codes of 16 weights, the least that share one.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Tuple

import numpy as np

__all__ = ["MAGIC", "PAIRS", "STEPS", "WORDS", "PackError", "grown", "unpack"]

MAGIC = b"\x93ECPACK\x01"
STEPS = 64  # that the share of zeros is told in
PAIRS, WORDS = 14, 2**16  # of weights in a word at most; in a dictionary at most
_SYMBOLS, _ZEROS = 9, 4  # pairs of digits; (0, 0) among them
_LARGEST, _HEADER = 2**31, 2**22  # bytes of a file and of a header that are read
_Leaf = Tuple[float, int, int, Tuple[int, ...]]  # −p, an order for ties, its parent's place, its pairs


class PackError(ValueError):
    """A file that is no packed model, or a damaged one."""


def unpack(source: str, out: str) -> None:
    """Write the file that was packed. Raises PackError, and OSError where it cannot be read or written."""
    with open(source, "rb") as file:
        header, size = _header(file, os.path.getsize(source))
        parts, count = _parts(header), int(header["bytes"])
        rest = count - sum(part["bytes"] for part in parts)
        if rest < 0 or rest + sum(part["packed"] for part in parts) != size:
            raise PackError("its parts do not fill it")
        if 2 * sum(part["bytes"] for part in parts if part["codec"] == "repeat") > count:
            raise PackError("it repeats more scales than its codes can have")
        whole = np.empty(count, np.uint8)
        position = 0
        for part in [*parts, {"offset": count, "bytes": 0}]:
            whole[position : part["offset"]] = np.frombuffer(file.read(part["offset"] - position), np.uint8)
            position = part["offset"] + part["bytes"]
        for part in parts:
            packed = np.frombuffer(file.read(part["packed"]), np.uint8)
            whole[part["offset"] : part["offset"] + part["bytes"]] = _CODECS[part["codec"]](packed, part)
    if hashlib.sha256(whole.data).hexdigest() != header.get("sha256"):
        raise PackError("what it unpacks to is not what its sha256 says")
    beside = f"{out}.part"  # a process that is killed leaves no half of a model under the name that is loaded
    try:
        with open(beside, "wb") as written:
            written.write(whole.data)
        os.replace(beside, out)
    except OSError:
        if os.path.exists(beside):
            os.remove(beside)
        raise


def grown(zeros: int) -> tuple[list[list[int]], list[tuple[int, ...]], float]:
    """The tree of rows in which so many sixty-fourths are zeros: (where each pair leads from each node, the pairs of
    each word, weights a word expected). The likeliest leaf becomes a node, as long as its nine leaves still fit."""
    zero = zeros / STEPS
    single = ((1 - zero) / 2, zero, (1 - zero) / 2)
    likely = [single[pair // 3] * single[pair % 3] for pair in range(_SYMBOLS)]
    heap: list[_Leaf] = []
    following: list[list[int]] = []
    ended: list[_Leaf] = []
    order = 0

    def grow(probability: float, run: tuple[int, ...]) -> int:
        nonlocal order
        following.append([0] * _SYMBOLS)
        for pair in range(_SYMBOLS):
            order += 1
            leaf = (-probability * likely[pair], order, len(following) - 1, (*run, pair))
            if len(run) + 1 == PAIRS:
                ended.append(leaf)
            else:
                heapq.heappush(heap, leaf)
        return len(following) - 1

    grow(1.0, ())
    while heap and len(heap) + len(ended) + _SYMBOLS - 1 <= WORDS:
        share, _, parent, run = heapq.heappop(heap)
        following[parent][run[-1]] = grow(-share, run)
    leaves = sorted(heap + ended, key=lambda leaf: leaf[1])
    expected = 0.0
    for word, (share, _, parent, run) in enumerate(leaves):
        following[parent][run[-1]] = -1 - word
        expected -= share * 2 * len(run)
    return following, [run for _, _, _, run in leaves], expected


def _header(file: Any, size: int) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes follow it."""
    start = file.read(len(MAGIC) + 4)
    if len(start) < len(MAGIC) + 4 or not start.startswith(MAGIC):
        raise PackError("no packed model")
    (length,) = struct.unpack("<I", start[len(MAGIC) :])
    if length > min(_HEADER, size - len(start)):
        raise PackError("its header is longer than the file")
    try:
        header = json.loads(file.read(length))
        if not 0 <= _whole(header["bytes"]) <= _LARGEST:
            raise PackError("it unpacks to more than 2 GB")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise error if isinstance(error, PackError) else PackError("its header is none") from error
    return header, size - len(start) - length


def _parts(header: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts, each inside the file and behind the one before, of a size that its codec can have."""
    position = 0
    try:
        parts: list[dict[str, Any]] = list(header["parts"])
        for part in parts:
            size, packed, rows = (_whole(part[name]) for name in ("bytes", "packed", "rows"))
            if _whole(part["offset"]) < position or part["offset"] + size > header["bytes"]:
                raise PackError("its parts overlap or lie outside")
            position = part["offset"] + size
            known = {"trits": -(-4 * size // 5), "bits3": -(-6 * size // 8), "repeat": 4 * rows}.get(
                part["codec"], packed
            )
            words = part["codec"] == "words"
            if part["codec"] == "repeat" and (not rows or size % (4 * rows)):
                raise PackError("a part has a size that its codec does not make")
            fits = not words or (
                0 < rows <= packed // 4
                and 4 * size % rows == 0
                and (packed - 4 * rows) % 2 == 0
                and 4 * size <= (packed - 4 * rows) // 2 * 2 * PAIRS
                and 0 < _whole(part["zeros"]) < STEPS
            )
            if part["codec"] not in _CODECS or known != packed or not fits:
                raise PackError("a part has a size that its codec does not make")
    except (KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, PackError) else PackError("its header is none") from error
    return parts


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PackError("its header has a number that is none")
    return value


def _trits(packed: Any, part: dict[str, Any]) -> Any:
    if len(packed) and int(packed.max()) > 242:
        raise PackError("a byte that holds no five digits")
    digits = np.empty((len(packed), 5), np.uint8)
    left = packed.copy()
    for place in range(5):
        left, digits[:, place] = np.divmod(left, 3)
    return _fields(digits.reshape(-1)[: 4 * part["bytes"]] + 1, 2)


def _bits3(packed: Any, part: dict[str, Any]) -> Any:
    bits = np.unpackbits(packed, bitorder="little")[: 6 * part["bytes"]].reshape(-1, 3)
    return _fields(bits[:, 0] + 2 * bits[:, 1] + 4 * bits[:, 2] + 4, 4)


def _words(packed: Any, part: dict[str, Any]) -> Any:
    rows, width = part["rows"], 4 * part["bytes"] // part["rows"]
    counts = packed[: 4 * rows].view("<u4").astype(np.int64)
    words = packed[4 * rows :].view("<u2").astype(np.int64)
    pairs, lengths = _dictionary(part["zeros"])
    if int(counts.sum()) != len(words) or (len(words) and int(words.max()) >= len(lengths)):
        raise PackError("words that the dictionary does not have")
    sizes = lengths[words]
    flat = pairs[words][np.arange(PAIRS) < sizes[:, None]]
    digits = np.stack((flat // 3, flat % 3), 1).reshape(-1)
    ends = np.concatenate(([0], np.cumsum(2 * sizes)))[np.concatenate(([0], np.cumsum(counts)))]
    if bool((np.diff(ends) < width).any()):
        raise PackError("words that do not fill a row")
    return _fields(np.concatenate([digits[end : end + width] for end in ends[:-1]]) + 1, 2)


def _repeat(packed: Any, part: dict[str, Any]) -> Any:
    return np.repeat(packed.reshape(-1, 4), part["bytes"] // (4 * part["rows"]), axis=0).reshape(-1)


@lru_cache(maxsize=STEPS)
def _dictionary(zeros: int) -> tuple[Any, Any]:
    _, runs, _ = grown(zeros)
    pairs = np.full((len(runs), PAIRS), _ZEROS, np.uint8)
    for word, run in enumerate(runs):
        pairs[word, : len(run)] = run
    return pairs, np.array([len(run) for run in runs], np.int64)


def _fields(values: Any, bits: int) -> Any:
    """Fields of so many bits as bytes, the first in the lowest."""
    table = values.astype(np.uint8).reshape(-1, 8 // bits)
    packed = np.zeros(len(table), np.uint8)
    for place in range(8 // bits):
        packed |= table[:, place] << (bits * place)
    return packed


_CODECS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "trits": _trits, "bits3": _bits3, "words": _words, "repeat": _repeat,
}  # fmt: skip

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 unpack.py model.onnx.pack model.onnx")
    try:
        unpack(sys.argv[1], sys.argv[2])
    except (PackError, OSError) as failure:
        sys.exit(f"unpack: {failure}")
    except MemoryError:
        sys.exit("unpack: it is larger than this machine's memory")
