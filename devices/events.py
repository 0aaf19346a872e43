"""What the runner's events (`runner/__init__.py`) have to be before anything is made of them.

A board may answer anything, and what a run left on disk may be damaged: an event that does not have what its name
promises is no event.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["sound", "subjects"]

_LARGEST = 1e18  # of anything that is measured, in its unit
_Check = Callable[[Any], bool]


def sound(event: Mapping[str, Any]) -> bool:
    """Whether an event has what its name promises, of the right kind. Nothing is asked of names that are not known."""
    return all(check(event.get(field)) for field, check in _FIELDS.get(str(event.get("event")), {}).items())


def subjects(event: Mapping[str, Any]) -> set[str]:
    """The ids of the jobs that a sound event is about."""
    if event.get("event") == "round":
        return set(event["blocks"])
    named = event.get("job", event.get("id"))  # a visit has a name of its own
    return set() if named is None else {str(named)}


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _error(value: Any) -> bool:
    """Infinite where a shape is another; NaN is judged like it."""
    return type(value) in (int, float) and not (type(value) is int and value > _LARGEST)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _count(value: Any) -> bool:
    return _whole(value) and value > 0


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _each(check: _Check, *, least: int = 0, most: float = math.inf) -> _Check:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def _by_name(check: _Check) -> _Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _fields(**checks: _Check) -> _Check:
    return lambda value: isinstance(value, dict) and all(check(value.get(name)) for name, check in checks.items())


def _visit(value: Any) -> bool:
    """The job's name, then the number of the visit."""
    number = value.rpartition("#")[2] if isinstance(value, str) else ""
    return number.isascii() and number.isdigit()


_BLOCK = _fields(
    runs=_count, seconds=_positive, median_ms=_positive, min_ms=_positive,
    sample_ms=_or_none(_each(_positive, least=1)),
)  # fmt: skip
_STATE: Mapping[str, _Check] = {
    "temperatures": _or_none(_by_name(_number)),
    "limits": _or_none(_by_name(_number)),
    "clocks": _or_none(_by_name(_fields())),
    "throttled": _or_none(_fields(now=_or_none(_each(_text)), occurred=_or_none(_each(_text)))),
    "throttle_count": _or_none(_number),
}
_FIELDS: Mapping[str, Mapping[str, _Check]] = {
    "description": {
        **dict.fromkeys(("python", "numpy", "onnxruntime", "tvm"), _or_none(_text)),  # each runner has its own
        "sensor": _or_none(_text), "state": _fields(**_STATE),
    },
    "golden": {"id": _text, "errors": _by_name(_error)},
    "loaded": {
        "id": _text, "load_ms": _number, "first_ms": _number, "peak_bytes": _or_none(_whole),
        "before_bytes": _or_none(_whole), "providers": _each(_text), "errors": _by_name(_error),
    },
    "round": {"index": _whole, "clock_mhz": _or_none(_number), "blocks": _by_name(_BLOCK)},
    "energy": {
        "id": _text, "joules": _or_none(_number), "seconds": _number, "runs": _count, "idle_watts": _or_none(_number),
        "sensor": _text, "samples": _whole,
    },
    "counted": {"id": _text, "instructions": _count, "spread": _or_none(_whole)},
    "decoded": {
        "id": _text, "first_ms": _positive, "token_ms": _positive, "read": _count, "steps": _count, "runs": _count,
    },
    "visit": {
        "id": _visit, "job": _text, "seconds": _number, "blocks": _each(_each(_positive, least=3, most=3), least=1),
        "nodes": _or_none(_by_name(_number)), "graph": _or_none(_text),
    },
    "failed": {"id": _text, "kind": _text, "reason": _text},
    "state": _STATE,
    "folder": {"path": _text, "process": _whole},
    "ended": {"id": _text, "throttled": _each(_text)},
}  # fmt: skip
