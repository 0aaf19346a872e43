"""How many places an artifact's key–value cache has: what it says when it is asked for a token at the last of them.

    2 · known, 4 · known, …  one token behind zeros in the cache   ─▶  fails: halved down to the last that does not

A table of positions ends somewhere, and no manifest has to be believed. TVM's kernels give no numbers beyond it instead
of failing. Rotary positions have no end: nothing fails.
"""

from __future__ import annotations

import math

import numpy as np

from compressor.devices.runner.decode import Decoder
from compressor.errors import ExportError
from compressor.graph.naming import PAST_KEY_VALUES

__all__ = ["most_places"]

_PROBED = 2**30  # bytes of a cache that is tried before there is a text to fill it


def most_places(decoder: Decoder, known: int, needed: int) -> int | None:
    """The most places that the decoder has, where it has fewer than `needed`; None where nothing says so.

    It has `known` as a rule; where it fails on those, too, the reason is another one.
    """
    while known < needed:
        places = min(2 * known, needed)
        if places * _bytes(decoder) > _PROBED:
            return None
        if not _has(decoder, places):
            return _between(decoder, known, places)
        known = places
    return None


def _between(decoder: Decoder, low: int, high: int) -> int | None:
    """The most that it has, from `low` on and below `high`."""
    if not _has(decoder, low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _has(decoder, middle) else (low, middle)
    return low


def _has(decoder: Decoder, places: int) -> bool:
    try:
        scores = decoder.blank(places)
        return bool(scores.shape[:2] == (1, 1) and not np.isnan(scores).any())
    except ExportError:
        return False


def _bytes(decoder: Decoder) -> int:
    """Of the cache, a place."""
    past = (spec for name, spec in decoder.specs.items() if name.startswith(f"{PAST_KEY_VALUES}."))
    sizes = ((np.dtype(spec["dtype"]), [size for size in spec["shape"] if isinstance(size, int)]) for spec in past)
    return sum(kind.itemsize * math.prod(fixed) for kind, fixed in sizes)
