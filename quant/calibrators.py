"""Calibrators: which range of an activation to represent, from values seen batch by batch.

    minmax       [min, max]: nothing is clipped
    percentile   the range that leaves out (100 − p) % of the values at each tail
    mse          the range with the least expected (x − x̂)²
    entropy      the threshold whose quantized histogram has the least Kullback–Leibler divergence from the original
                 (S. Migacz, 8-bit inference with TensorRT, GTC 2017): 2048 bins, thresholds from 128 bins up

All but the first keep one histogram of fixed size. Its bins have a power-of-two width and meet at zero; when a value
falls outside, the width doubles and neighbours are added, so one pass suffices and the result does not depend on
how values were cut into batches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.errors import InputError, did_you_mean
from compressor.quant.formats import UINT8, Format

__all__ = ["CALIBRATORS", "Calibrator", "Entropy", "Histogram", "MinMax", "MseSearch", "Percentile", "calibrator"]

BINS = 4096  # on each side of zero; the largest value lies in the upper half, so at least 2048 are in use
NOTHING = 2.0**-100  # ranges below this are not cut into bins
STEPS = 64  # clipping thresholds that the MSE search tries on each side
THRESHOLDS = 128  # clipping thresholds that the entropy search tries


@dataclass
class Calibrator(ABC):
    """Sees tensors, then answers with a range that holds zero. `format` is what the range will be cut into."""

    format: Format = UINT8
    low: float = 0.0
    high: float = 0.0

    def observe(self, tensor: Tensor) -> None:
        """Take in a batch, any shape. Raises InputError for NaN or infinity."""
        if tensor.numel() == 0:
            return
        values = tensor.detach().float()
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                "an activation is NaN or infinite on the calibration data",
                way_out="Check the data's preprocessing, or leave the layer alone with --keep.",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._count(values)

    def _count(self, values: Tensor) -> None:  # noqa: B027  not every calibrator needs more than the extremes
        """Gather more than the extremes."""

    @abstractmethod
    def range(self) -> tuple[float, float]:
        """`(low, high)` with low ≤ 0 ≤ high; `(0, 0)` where nothing but zeros was seen."""


@dataclass
class MinMax(Calibrator):
    """Everything that was seen."""

    def range(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass
class Histogram(Calibrator):
    """Counts in bins of width 2^exponent on both sides of zero; the bin at index BINS starts at zero."""

    counts: Tensor = field(default_factory=lambda: torch.zeros(2 * BINS, dtype=torch.float64))
    exponent: int | None = None

    def _count(self, values: Tensor) -> None:
        extreme = max(-self.low, self.high)
        if extreme < NOTHING:  # bins that narrow have no finite inverse width; one bin says it all
            self.counts[BINS] += values.numel()
            return
        self._widen(math.floor(math.log2(extreme)) + 1 - int(math.log2(BINS)))
        bins = (values.flatten() * 2.0 ** -float(self.exponent or 0)).floor_().add_(BINS).clamp_(0, 2 * BINS - 1)
        self.counts += torch.histc(bins, 2 * BINS, 0, 2 * BINS - 1).double()

    def _widen(self, exponent: int) -> None:
        """Double the bins' width until it is 2^exponent."""
        while self.exponent is not None and self.exponent < exponent:
            pairs = self.counts.view(-1, 2).sum(1)
            self.counts = torch.zeros_like(self.counts)
            self.counts[BINS // 2 : BINS + BINS // 2] = pairs
            self.exponent += 1
        self.exponent = exponent if self.exponent is None else self.exponent

    def _edges(self) -> Tensor:
        width = 2.0 ** float(self.exponent or 0)
        edges: Tensor = torch.arange(-BINS, BINS + 1, dtype=torch.float64) * width
        return edges

    def _clipped(self, low: float, high: float) -> tuple[float, float]:
        return max(min(low, 0.0), self.low), min(max(high, 0.0), self.high)


@dataclass
class Percentile(Histogram):
    """Leaves out the outermost (100 − percentile) % of the values at each tail."""

    percentile: float = 99.99

    def range(self) -> tuple[float, float]:
        if self.exponent is None:
            return self.low, self.high
        below = torch.cumsum(self.counts, 0)
        tail = (1.0 - self.percentile / 100.0) * float(below[-1])
        edges = self._edges()
        low = edges[int(torch.searchsorted(below, tail, right=True))]
        high = edges[int(torch.searchsorted(below, float(below[-1]) - tail)) + 1]
        return self._clipped(float(low), float(high))


@dataclass
class MseSearch(Histogram):
    """The range whose rounding and clipping together cost the least squared error."""

    def range(self) -> tuple[float, float]:
        if self.exponent is None:
            return self.low, self.high
        edges, used = self._edges(), self.counts > 0
        centers, counts = ((edges[:-1] + edges[1:]) / 2)[used], self.counts[used]
        shares = torch.linspace(1.0 / STEPS, 1.0, STEPS, dtype=torch.float64)
        if self.format.symmetric:
            highs = max(-self.low, self.high) * shares
            best = float(highs[self._errors(-highs, highs, centers, counts).argmin()])
            return self._clipped(-best, best)
        low, high = self.low, self.high
        for _ in range(2):  # the two sides in turn: they hardly interact
            highs = self.high * shares
            high = float(highs[self._errors(torch.full_like(highs, low), highs, centers, counts).argmin()])
            lows = self.low * shares
            low = float(lows[self._errors(lows, torch.full_like(lows, high), centers, counts).argmin()])
        return self._clipped(low, high)

    def _errors(self, lows: Tensor, highs: Tensor, centers: Tensor, counts: Tensor) -> Tensor:
        """Σ counts · (clipping² + step²/12) for each candidate range."""
        steps = (highs - lows) / (self.format.high - self.format.low)
        clipped = torch.minimum(torch.maximum(centers, lows[:, None]), highs[:, None])
        inside = ((clipped == centers) * counts).sum(1)
        return ((centers - clipped) ** 2 * counts).sum(1) + inside * steps**2 / 12


@dataclass
class Entropy(Histogram):
    """The threshold on |x| at which the quantized distribution says most about the original one.

    Exact zeros, of which a ReLU leaves many, are not counted: every scale keeps them, so they say nothing of it.
    """

    def _count(self, values: Tensor) -> None:
        super()._count(values[values != 0])

    def range(self) -> tuple[float, float]:
        if self.exponent is None:
            return self.low, self.high
        magnitudes = self.counts[BINS:] + self.counts[:BINS].flip(0)
        width = 2.0 ** float(self.exponent)
        if int(magnitudes.nonzero()[-1]) >= BINS // 2:  # down to the published 2048 bins
            magnitudes, width = magnitudes.view(-1, 2).sum(1), 2 * width
        last = int(magnitudes.nonzero()[-1]) + 1
        levels = int(self.format.high - self.format.low + 1)
        if self.low < 0 or self.format.symmetric:  # |x| has half of the codes to itself
            levels = (levels + 1) // 2
        candidates = range(min(levels, last), last + 1, max(1, (last - levels) // THRESHOLDS))
        best = min(candidates, key=lambda end: (_divergence(magnitudes, end, levels), -end))
        return self._clipped(-best * width, best * width)


def _divergence(counts: Tensor, end: int, levels: int) -> float:
    """KL(P ‖ Q): P is the histogram clipped at `end`, Q the same squeezed into `levels` and spread out again."""
    inside = counts[:end]
    reference = inside.clone()
    reference[-1] += counts[end:].sum()
    group = torch.arange(end) * levels // end
    sums = torch.zeros(levels, dtype=torch.float64).index_add_(0, group, inside)
    filled = torch.zeros(levels, dtype=torch.float64).index_add_(0, group, (inside > 0).double())
    spread = torch.where(inside > 0, (sums / filled.clamp(min=1))[group], 0.0)
    if float(spread.sum()) == 0.0:
        return math.inf
    p, q = reference / reference.sum(), spread / spread.sum()
    seen = p > 0
    # A bin that holds only clipped values has no counterpart in Q: a small floor keeps the divergence finite.
    return float((p[seen] * torch.log(p[seen] / q[seen].clamp(min=1e-12))).sum())


CALIBRATORS: dict[str, Callable[..., Calibrator]] = {
    "minmax": MinMax, "percentile": Percentile, "mse": MseSearch, "entropy": Entropy,
}  # fmt: skip


def calibrator(name: str, format: Format, *, percentile: float = 99.99) -> Calibrator:
    """A fresh calibrator. Raises InputError for an unknown name or a percentile outside (50, 100]."""
    if name not in CALIBRATORS:
        raise InputError(f"unknown calibrator {name!r}", way_out=did_you_mean(name, list(CALIBRATORS)))
    if not 50.0 < percentile <= 100.0:
        raise InputError(f"percentile {percentile} is not above 50 and at most 100")
    return CALIBRATORS[name](format, **({"percentile": percentile} if name == "percentile" else {}))
