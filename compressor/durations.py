"""Times as the command line spells them: 500ms, 5s, 10min."""

from __future__ import annotations

import re

from compressor.errors import InputError

__all__ = ["duration"]

_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0}


def duration(text: str) -> float:
    """Seconds of what was given as --time. Raises InputError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*(ms|s|min)", text.strip())
    if match is None or not float(match[1]):
        raise InputError(f"{text!r} is no time", where="--time", way_out="Write 500ms, 5s or 1min.")
    return float(match[1]) * _SECONDS[match[2]]
