"""What a latency model says of a network's calls, and what it takes to be one.

    t(network) = Σ_calls t(call),   [low, high] = t · exp(± width)         microseconds

`Learned` (laws over features) and `SequenceModel` (a network over tokens) are two; everything above takes either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from compressor.graph.calls import Call

__all__ = ["CallModel", "Predicted"]


@dataclass(frozen=True)
class Predicted:
    """Microseconds of one inference with its 90% interval, and of each call by name: 0 for what is fused.

    `covered` is the share of the calls that take time whose operator was profiled; `unknown` names the other operators,
    priced by their bytes and operations.
    """

    microseconds: float
    low: float
    high: float
    calls: Mapping[str, float]
    covered: float
    unknown: tuple[str, ...]


class CallModel(Protocol):
    """A model of one device at one number of threads. `kind` is its name in `kinds.py`."""

    kind: ClassVar[str]

    @property
    def threads(self) -> int: ...

    def predict(self, calls: Sequence[Call]) -> Predicted:
        """What an inference of a network of these calls takes."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts, from which the model is read again."""
