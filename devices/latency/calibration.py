"""A latency model bent to a handful of measurements of whole models on a device.

    t(program) = Σ_k e^(a + b_k) · t₀_k(program)        k: kinds of kernel, t₀: what the base model says of each
    min over a, b of   Σ_i (ln t(i) − ln t_i)² + λ Σ_k b_k² + λ a² / 100

The base is whichever predicts the measured models best when each is left out in turn: the target's roofline, or the
profile of another device; λ is chosen alongside. The interval is what those left out were off by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.devices.latency.interval import half_width
from compressor.errors import InputError
from compressor.graph.cost import Estimate, KernelCost, LatencyModel
from compressor.graph.outline import Outline
from compressor.targets.target import Target

__all__ = ["KINDS", "Calibrated", "Calibration", "calibrate", "kind_of"]

KINDS = ("convolution", "depthwise", "product", "integer", "other")
LEAST = 3  # measured models
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
_STEPS = 25
_MOST = 1e9  # times that a roofline or another device's profile is off: more is no calibration
_FEW_MACS = 49  # an output that sums no more is a depthwise one, of 7×7 at most

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """`factors` by kind; `spread` is how far off, in logarithm, nine of ten models left out were."""

    base: str
    factors: Mapping[str, float]
    spread: float
    measured: Mapping[str, float] = field(default_factory=dict)  # milliseconds by model
    about: Mapping[str, Any] = field(default_factory=dict)  # device, processor, runtime, date

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base, "factors": dict(self.factors), "spread": self.spread,
            "measured": dict(self.measured), "about": dict(self.about),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError for what is none."""
        factors = {kind: float(data["factors"][kind]) for kind in KINDS}
        measured = {str(name): float(value) for name, value in dict(data["measured"]).items()}
        spread = float(data["spread"])
        if not all(0 < factor < _MOST for factor in factors.values()) or not 0 <= spread < math.log(_MOST):
            raise ValueError("a factor or the spread is out of all proportion")
        return cls(str(data["base"]), factors, spread, measured, dict(data["about"]))


class Calibrated(LatencyModel):
    """`base` with each kind of kernel multiplied by its factor."""

    def __init__(self, base: LatencyModel, calibration: Calibration, source: str) -> None:
        self.base, self.calibration, self.source = base, calibration, source

    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """As `LatencyModel`."""
        found = self.base.price(outlined, target, threads=threads)
        factors, wide = self.calibration.factors, math.exp(self.calibration.spread)
        kernels = tuple(replace(k, latency_ms=factors[kind_of(k)] * k.latency_ms) for k in found.kernels)
        total = sum(kernel.latency_ms for kernel in kernels)
        return replace(
            found, kernels=kernels, latency_ms=total, calibrated=True, interval_ms=(total / wide, total * wide),
            source=self.source,
        )  # fmt: skip


def calibrate(
    estimates: Mapping[str, Sequence[Estimate]], measured_ms: Sequence[float]
) -> tuple[str, dict[str, float], float]:
    """The best base, its factors by kind, and the spread. `estimates` of the measured models in order, by base.

    Raises InputError where fewer than three models were measured.
    """
    if len(measured_ms) < LEAST:
        raise InputError(f"{len(measured_ms)} models were measured, {LEAST} are the least", where="calibration")
    target = np.log(np.asarray(measured_ms, dtype=np.float64))
    best: tuple[float, str, float, Floats] | None = None
    for base, listed in estimates.items():
        parts = np.array([_parts(estimate) for estimate in listed])
        for strength in _STRENGTHS:
            off = _left_out(parts, target, strength)
            score = float(np.mean(np.abs(off)))
            if best is None or score < best[0]:
                best = score, base, strength, off
    if best is None:
        raise InputError("there is no model to calibrate", where="calibration")
    _, base, strength, off = best
    parts = np.array([_parts(estimate) for estimate in estimates[base]])
    factors = dict(zip(KINDS, map(float, np.exp(_fit(parts, target, strength))), strict=True))
    return base, factors, half_width(off)


def kind_of(kernel: KernelCost) -> str:
    """Which factor a kernel takes."""
    if kernel.format == "int8":
        return "integer"
    if kernel.kind.startswith("conv"):
        return "depthwise" if kernel.macs <= _FEW_MACS * math.prod(kernel.shape) else "convolution"
    return "product" if kernel.kind in ("linear", "matmul", "attention", "recurrent") else "other"


def _parts(estimate: Estimate) -> list[float]:
    """Milliseconds by kind."""
    return [sum(k.latency_ms for k in estimate.kernels if kind_of(k) == kind) for kind in KINDS]


def _left_out(parts: Floats, target: Floats, strength: float) -> Floats:
    """ln(predicted / measured) of each model, from the others."""
    off = []
    for index in range(len(target)):
        others = np.arange(len(target)) != index
        logs = _fit(parts[others], target[others], strength)
        off.append(math.log(max(float(np.exp(logs) @ parts[index]), 1e-12)) - target[index])
    return np.array(off)


def _fit(parts: Floats, target: Floats, strength: float) -> Floats:
    """a + b_k by Gauss–Newton, from the best common factor."""
    kinds = parts.shape[1]
    found = np.zeros(1 + kinds)
    found[0] = float(np.mean(target - np.log(parts.sum(1))))
    centre = found[0]
    penalty = strength * np.diag([0.01, *([1.0] * kinds)])
    for _ in range(_STEPS):
        times = parts * np.exp(found[0] + found[1:])
        total = times.sum(1)
        slopes = np.column_stack([np.ones(len(target)), times / total[:, None]])
        wanted = target - np.log(total) + slopes @ found
        shifted = penalty @ np.array([centre, *([0.0] * kinds)])
        found = np.linalg.solve(slopes.T @ slopes + penalty, slopes.T @ wanted + shifted)
    return np.asarray(found[0] + found[1:])
