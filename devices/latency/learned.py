"""A device's learned latency model: what a network would take there, call by call.

    t(network) = Σ_calls m_g · law_g(call) + Σ copies between layouts,        microseconds
    interval   = t · exp(± (q + ln(1 + 2 u + ½ x)))

Calls that are fused or only change a view cost nothing (`fusion.py`); the others are priced in their group
(`groups.py`) by its law (`regression.py`). q is the 90% quantile of the log errors on networks that were left out when
the model was fitted, u and x the shares of the time in operators never seen and in calls beyond those profiled.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from compressor.devices.latency.fusion import Fusion
from compressor.devices.latency.laws.context import contexts_of
from compressor.devices.latency.laws.describe import numbers_of
from compressor.devices.latency.laws.groups import group_of
from compressor.devices.latency.laws.numbers import Numbers
from compressor.devices.latency.laws.regression import Law
from compressor.devices.latency.laws.reorders import reorders_of
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.predicted import Predicted
from compressor.graph.calls import Call

__all__ = ["REORDER", "Learned", "Priced"]

REORDER = "reorder"
_VERSION = 3


@dataclass(frozen=True)
class Priced:
    """Calls of one group with their microseconds, and which of them lie beyond what was profiled."""

    names: tuple[str, ...]
    microseconds: tuple[float, ...]
    beyond: tuple[bool, ...]


@dataclass(frozen=True)
class Learned:
    """`multiples` correct whole groups, `operators` are those profiled, `scale` prices a group without a law."""

    kind: ClassVar[str] = "features"
    layout: Layout
    fusion: Fusion
    laws: Mapping[str, Law]
    operators: frozenset[str]
    scale: float = 1.0
    multiples: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.3
    threads: int = 1

    def predict(self, calls: Sequence[Call]) -> Predicted:
        """What an inference of a network of these calls takes."""
        groups = self.priced(calls)
        times = dict.fromkeys((call.name for call in calls), 0.0)
        beyond = 0.0
        for group in groups.values():
            for name, time, far in zip(group.names, group.microseconds, group.beyond, strict=True):
                times[name] += time
                beyond += time * far
        total = sum(times.values())
        timed = [call for call in calls if times[call.name] > 0]
        strange = [call for call in timed if call.op not in self.operators]
        unknown = sum(times[call.name] for call in strange)
        share = max(total, 1e-9)
        wide = self.spread + math.log(1 + 2 * unknown / share + 0.5 * beyond / share)
        covered = 1 - len(strange) / len(timed) if timed else 1.0
        names = tuple(sorted({call.op for call in strange}))
        return Predicted(total, total * math.exp(-wide), total * math.exp(wide), times, covered, names)

    def priced(self, calls: Sequence[Call]) -> dict[str, Priced]:
        """The calls that take time, and the copies between layouts, by group."""
        blocked = self.layout.blocked(calls)
        free = self.fusion.free(calls, blocked)
        contexts = contexts_of(calls, blocked, self.layout.core, alone=[call.name for call in calls])  # onnx_norms.py
        rows: dict[str, list[tuple[str, Numbers]]] = defaultdict(list)
        for call in calls:
            if call.name not in free:
                group = group_of(call, blocked[call.name], self.layout.lanes)
                rows[group].append((call.name, numbers_of(call, group, contexts[call.name])))
        if REORDER in self.laws:
            copies = reorders_of(calls, blocked, self.layout.core)
            rows[REORDER] = [(name, numbers) for name, listed in copies.items() for numbers in listed]
        return {group: self._priced(group, listed) for group, listed in rows.items() if listed}

    def _priced(self, group: str, rows: Sequence[tuple[str, Numbers]]) -> Priced:
        law = self.laws.get(group) or Law({}, self.scale)
        numbers = [each for _, each in rows]
        times = law.predict(numbers) * self.multiples.get(group, 1.0)
        beyond = law.beyond(numbers) if group in self.laws else [True] * len(rows)
        return Priced(tuple(name for name, _ in rows), tuple(map(float, times)), tuple(map(bool, beyond)))

    def to_json(self) -> dict[str, Any]:
        return {
            "version": _VERSION, "layout": self.layout.to_json(), "fusion": self.fusion.to_json(),
            "laws": {group: law.to_json() for group, law in self.laws.items()},
            "operators": sorted(self.operators), "scale": self.scale, "multiples": dict(self.multiples),
            "spread": self.spread, "threads": self.threads,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Learned:
        """Raises KeyError, TypeError or ValueError for what is none."""
        if data["version"] != _VERSION:
            raise ValueError(f"a latency model of version {data['version']}, where this reads {_VERSION}")
        return cls(
            Layout.from_json(data["layout"]),
            Fusion.from_json(data["fusion"]),
            {str(group): Law.from_json(law) for group, law in data["laws"].items()},
            frozenset(map(str, data["operators"])),
            float(data["scale"]),
            {str(group): float(value) for group, value in data["multiples"].items()},
            float(data["spread"]),
            int(data["threads"]),
        )
