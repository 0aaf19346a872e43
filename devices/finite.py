"""JSON of finite numbers: what is fitted and kept on disk holds no others, and one would show up far from its file."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["finite_json"]

_DIGITS = 300  # of a whole number that a float still holds


def finite_json(text: str) -> Any:
    """What the text says. Raises ValueError where it is no JSON, or a number in it is not finite."""
    try:
        return json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _int(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a finite number")
