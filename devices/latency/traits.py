"""How new a network's kernels are to a profile: how far their sizes are from all that was measured.

    worth(network) = Σ_calls √(w / Σ w) d / calls
    d = min over measured calls of a kind of ‖ log₂ sizes − log₂ sizes ‖ / 2

at most `FAR`, which is also a kind's that was never measured; w is what a call takes by its operations and bytes. What
random sizes leave out (few rows, wide maps with few channels) is found by asking for what is far. The root is how much
a sample counts when a law is fitted, and each kernel that is timed uses up as much of a profile's number: a network of
few long kernels tells more for it than one of many short ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compressor.devices.latency.laws.geometry import convolution_of, pool_kernel, product_of
from compressor.graph.calls import Call

__all__ = ["FAR", "Seen", "Trait", "traits_of"]

FAR = 3.0
_MACS, _BYTES = 4e4, 1e4  # a microsecond, roughly, on any processor: only how calls compare counts


@dataclass(frozen=True)
class Trait:
    """A call's kind, its sizes as logarithms, and its weight."""

    kind: str
    sizes: tuple[float, ...]
    weight: float


@dataclass
class Seen:
    """The sizes of what was chosen so far, by kind."""

    points: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)

    def worth(self, traits: Sequence[Trait]) -> float:
        """0 where all was measured as it is; at most `FAR`, for a single kernel that nothing resembles."""
        whole = sum(trait.weight for trait in traits)
        if not whole:
            return 0.0
        return sum(math.sqrt(trait.weight / whole) * self._distance(trait) for trait in traits) / len(traits)

    def add(self, traits: Iterable[Trait]) -> None:
        for trait in traits:
            self.points.setdefault(trait.kind, []).append(trait.sizes)

    def _distance(self, trait: Trait) -> float:
        near = (math.dist(trait.sizes, other) / 2 for other in self.points.get(trait.kind, ()))
        return min(FAR, min(near, default=FAR))


def traits_of(calls: Iterable[Call], how: str) -> list[Trait]:
    """Of the calls that do work; `how` the network will be compressed keeps formats apart."""
    found = []
    for call in calls:
        kind, sizes = _sizes(call)
        if call.main and sizes:
            weight = max(call.macs / _MACS, (call.read_bytes + call.weight_bytes + call.bytes) / _BYTES)
            logs = tuple(math.log2(max(1.0, size)) for size in sizes)
            found.append(Trait(_told(kind, call, how), logs, weight))
    return found


def _told(kind: str, call: Call, how: str) -> str:
    """Static int8 changes every kernel, blocks of few bits the linear ones alone; pruning changes sizes."""
    changed = how == "int8" or (how in ("int4", "int2") and call.kind == "linear")
    return f"{kind} {how}" if changed else kind


def _sizes(call: Call) -> tuple[str, tuple[float, ...]]:
    conv = convolution_of(call) if call.kind.startswith("conv") else None
    product = product_of(call)
    if conv is not None:
        odd = "odd " if conv.channels % 4 or conv.filters % 4 else ""
        if conv.depthwise:
            return f"{odd}depthwise", (conv.channels, conv.pixels, conv.area, math.prod(conv.stride))
        inner = conv.channels / conv.groups
        return f"{odd}{call.kind}", (inner, conv.filters, conv.pixels, conv.area, math.prod(conv.stride))
    if call.kind in ("linear", "matmul") and product is not None:
        return f"{call.kind} of one row" if product.rows == 1 else call.kind, (
            product.rows, product.inner, product.columns, product.batch
        )  # fmt: skip
    if call.kind == "attention" and len(call.operands) > 1:
        query, key = call.operands[0].shape, call.operands[1].shape
        return "attention", (math.prod(query[:-2]), query[-2], key[-2], query[-1])
    if call.kind == "pool":
        return call.op, (call.elements, pool_kernel(call))
    return call.op, (call.elements,) if call.elements else ()
