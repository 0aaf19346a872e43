"""A latency model bent to a handful of measurements of whole models on a device.

    t(program) = Σ_k max(s_k + c, s_k / 10),  s_k = e^(a + b_k) · t₀_k     t₀: what the base says of kernel k, b by kind
    min over a, b, c of   Σ_i (ln t(i) − ln t_i)² + λ Σ b² + λ a² / 100 + μ (c / c₀)²        c₀: the mean kernel's time

c is what a call costs more here than there, or less: it decides whether smaller layers save time, or only fewer ones.
The base is whichever predicts the measured models best when each is left out in turn: the target's roofline, or the
profile of another device; λ and μ are chosen alongside. The interval is what those left out were off by.
"""

from __future__ import annotations

import itertools
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

__all__ = ["KINDS", "LEAST", "Calibrated", "Calibration", "calibrate", "kind_of", "kinds_of"]

KINDS = ("convolution", "depthwise", "product", "integer", "unpacked", "other")
LEAST = 3  # measured models
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
_STIFF = (math.inf, 1.0, 0.03)  # of a call's cost; the first leaves it as it is
_LEFT = 0.1  # of a kernel's time, that no lower cost of a call takes away
_STEPS = 25
_MOST = 1e9  # times that a roofline or another device's profile is off: more is no calibration
_FEW_MACS = 49  # an output that sums no more is a depthwise one, of 7×7 at most

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """`factors` by kind, `call_ms` of every kernel besides; `spread` is how far off, in logarithm, nine of ten models
    left out were."""

    base: str
    factors: Mapping[str, float]
    spread: float
    measured: Mapping[str, float] = field(default_factory=dict)  # milliseconds by model
    about: Mapping[str, Any] = field(default_factory=dict)  # device, processor, runtime, date
    call_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base, "factors": dict(self.factors), "call_ms": self.call_ms, "spread": self.spread,
            "measured": dict(self.measured), "about": dict(self.about),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError for what is none."""
        told = {str(kind): float(factor) for kind, factor in dict(data["factors"]).items()}
        factors = {kind: told.get(kind, told["other"]) for kind in KINDS}  # an earlier version knew fewer
        measured = {str(name): float(value) for name, value in dict(data["measured"]).items()}
        spread, call = float(data["spread"]), float(data.get("call_ms", 0.0))
        whole = all(0 < factor < _MOST for factor in factors.values()) and abs(call) < _MOST
        if not whole or not 0 <= spread < math.log(_MOST):
            raise ValueError("a factor, a call's cost or the spread is out of all proportion")
        return cls(str(data["base"]), factors, spread, measured, dict(data["about"]), call)

    def times(self, kernels: Sequence[KernelCost]) -> list[float]:
        """Milliseconds that the kernels of a program take by it; what takes none is no call."""
        scaled = (self.factors[kind] * each.latency_ms for kind, each in zip(kinds_of(kernels), kernels, strict=True))
        return [max(each + self.call_ms, _LEFT * each) if each > 0 else 0.0 for each in scaled]


class Calibrated(LatencyModel):
    """`base` with each kernel's time as the calibration has it."""

    def __init__(self, base: LatencyModel, calibration: Calibration, source: str) -> None:
        self.base, self.calibration, self.source = base, calibration, source

    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """As `LatencyModel`."""
        found = self.base.price(outlined, target, threads=threads)
        wide = math.exp(self.calibration.spread)
        times = zip(found.kernels, self.calibration.times(found.kernels), strict=True)
        kernels = tuple(replace(kernel, latency_ms=each) for kernel, each in times)
        total = sum(kernel.latency_ms for kernel in kernels)
        return replace(
            found, kernels=kernels, latency_ms=total, calibrated=True, interval_ms=(total / wide, total * wide),
            source=self.source,
        )  # fmt: skip


def calibrate(estimates: Mapping[str, Sequence[Estimate]], measured_ms: Sequence[float]) -> Calibration:
    """The best base, what it is bent by, and the spread. `estimates` of the measured models in order, by base.

    Raises InputError where fewer than three models were measured.
    """
    if len(measured_ms) < LEAST:
        raise InputError(f"{len(measured_ms)} models were measured, {LEAST} are the least", where="calibration")
    target = np.log(np.asarray(measured_ms, dtype=np.float64))
    best: tuple[float, str, float, float, Floats] | None = None
    for base, listed in estimates.items():
        parts = np.array([_parts(estimate) for estimate in listed])
        for strength, stiff in itertools.product(_STRENGTHS, _STIFF):
            off = _left_out(parts, target, strength, stiff)
            score = float(np.mean(np.abs(off)))
            if best is None or score < best[0]:
                best = score, base, strength, stiff, off
    if best is None:
        raise InputError("there is no model to calibrate", where="calibration")
    _, base, strength, stiff, off = best
    parts = np.array([_parts(estimate) for estimate in estimates[base]])
    *factors, call = map(float, _fit(parts, target, strength, stiff))
    return Calibration(base, dict(zip(KINDS, factors, strict=True)), half_width(off), call_ms=call)


def kinds_of(kernels: Sequence[KernelCost]) -> list[str]:
    """Which factor each kernel of a program takes. A float one whose weights are dequantized at each inference may run
    otherwise than on constants: of a convolution the runtime does not choose the layout."""
    stored = {kernel.layer for kernel in kernels if kernel.kind == "dequantize"}
    return [
        "unpacked" if each.layer in stored and each.macs and each.format != "int8" else kind_of(each)
        for each in kernels
    ]  # fmt: skip


def kind_of(kernel: KernelCost) -> str:
    """Which factor a kernel takes by itself."""
    if kernel.format == "int8":
        return "integer"
    if kernel.kind.startswith("conv"):
        return "depthwise" if kernel.macs <= _FEW_MACS * math.prod(kernel.shape) else "convolution"
    return "product" if kernel.kind in ("linear", "matmul", "attention", "recurrent") else "other"


def _parts(estimate: Estimate) -> list[float]:
    """Milliseconds by kind, and the number of calls."""
    kinds = kinds_of(estimate.kernels)
    pairs = [(kind, each.latency_ms) for kind, each in zip(kinds, estimate.kernels, strict=True) if each.latency_ms > 0]
    return [*(sum(ms for own, ms in pairs if own == kind) for kind in KINDS), float(len(pairs))]


def _left_out(parts: Floats, target: Floats, strength: float, stiff: float) -> Floats:
    """ln(predicted / measured) of each model, from the others; they tell nothing of one with a kind that none of them
    has."""
    off, common = [], (parts > 0).sum(0) > 1
    told = [index for index in range(len(target)) if common[parts[index] > 0].all()]
    for index in told if len(told) >= LEAST else range(len(target)):
        others = np.arange(len(target)) != index
        guess = float(parts[index] @ _fit(parts[others], target[others], strength, stiff))
        off.append(math.log(max(guess, 1e-12)) - target[index])
    return np.array(off)


def _fit(parts: Floats, target: Floats, strength: float, stiff: float) -> Floats:
    """e^(a + b) by kind and c, by Gauss–Newton from the best common factor."""
    times, counts = parts[:, :-1], parts[:, -1]
    scaled = times.sum(1)
    centre = float(np.mean(target - np.log(scaled)))
    call = math.exp(centre) * float(scaled.sum() / counts.sum())  # milliseconds of the mean kernel: the unit of c
    free = math.isfinite(stiff)
    found = np.zeros(2 + len(KINDS))
    found[0] = centre
    penalty = np.diag([0.01 * strength, *([strength] * len(KINDS)), stiff if free else 1.0])
    for _ in range(_STEPS):
        each = times * np.exp(found[0] + found[1:-1])
        total = np.maximum(each.sum(1) + found[-1] * call * counts, _LEFT * each.sum(1))
        last = call * counts / total if free else np.zeros(len(target))
        slopes = np.column_stack([each.sum(1) / total, each / total[:, None], last])
        wanted = target - np.log(total) + slopes @ found
        shifted = penalty @ np.array([centre, *([0.0] * (len(KINDS) + 1))])
        found = np.linalg.solve(slopes.T @ slopes + penalty, slopes.T @ wanted + shifted)
    return np.append(np.exp(found[0] + found[1:-1]), found[-1] * call)
