"""The roofline over kept calls: as the target's data sheet has it, and with its own few numbers fitted to a profile.

    t(network) = Σ_kernels max(MACs / rate(format), bytes / bandwidth) + overhead                     microseconds

As `graph/cost.py`, read from the calls alone. Fitted: argmin Σ |ln t̂ / t| over the profile's networks, by Nelder and
Mead's simplex, so that a learned model is not compared with wrong peaks alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.devices.latency.measured import Measured
from compressor.graph.calls import Call
from compressor.targets.target import Target

__all__ = ["FORMATS", "Kept", "data_sheet", "fitted", "kernels_of"]

FORMATS = ("fp32", "int8", "blocks")  # kept in blocks of 4 or 2 bits: `blocks`
Kernel = tuple[str, float, float]


@dataclass(frozen=True)
class Kept:
    """Multiply–accumulates a microsecond by format, bytes a microsecond, microseconds a kernel."""

    rates: tuple[float, ...]
    bandwidth: float
    overhead: float

    def predict(self, kernels: Iterable[Kernel]) -> float:
        """Microseconds."""
        rates = dict(zip(FORMATS, self.rates, strict=True))
        return sum(max(macs / rates[kind], moved / self.bandwidth) + self.overhead for kind, macs, moved in kernels)


def kernels_of(calls: Sequence[Call]) -> list[Kernel]:
    """Format, multiply–accumulates and bytes of each kernel; what stays inside one is not moved."""
    members: dict[str, list[Call]] = defaultdict(list)
    readers: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        if call.kernel:
            members[call.kernel].append(call)
        for operand in call.inputs:
            readers[operand.source].add(call.kernel)
    found = []
    for kernel, own in members.items():
        names = {call.name for call in own}
        outside = {each.source: each.bytes for call in own for each in call.inputs if each.source not in names}
        written = sum(call.bytes for call in own if readers[call.name] != {kernel})
        moved = sum(outside.values()) + written + sum(call.weight_bytes for call in own)
        found.append((_kind(own[0].format), float(sum(call.macs for call in own)), float(moved)))
    return found


def data_sheet(target: Target, threads: int) -> Kept:
    """The target's own numbers."""
    share = min(threads, target.threads) / target.threads
    rates = tuple(1e-6 * share * target.rate(name) for name in ("fp32", "int8", "int8"))
    return Kept(rates, 1e-6 * target.bandwidth.value, 1e6 * target.node_overhead.value)


def fitted(networks: Sequence[Measured], start: Kept) -> Kept:
    """Its five numbers from networks that were timed."""
    from scipy.optimize import minimize

    known = [(kernels_of(each.calls), each.microseconds) for each in networks]

    def made(logs: np.ndarray) -> Kept:
        values = np.exp(logs)
        return Kept(tuple(map(float, values[:-2])), float(values[-2]), float(values[-1]))

    def error(logs: np.ndarray) -> float:
        roofline = made(logs)
        return sum(abs(math.log(roofline.predict(kernels) / time)) for kernels, time in known)

    best = np.log([*start.rates, start.bandwidth, start.overhead])
    for _ in range(3):  # the simplex shrinks too soon when started once
        best = minimize(error, best, method="Nelder-Mead", options={"maxfev": 400}).x
    return made(best)


def _kind(name: str) -> str:
    return "blocks" if name in ("int4", "int2") else "int8" if name == "int8" else "fp32"
