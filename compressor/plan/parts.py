"""What a program costs, part by part: milliseconds and bytes of every layer, and the memory it runs in.

    parts are named after the layers of the original: what a pass made of `fc` (`fc.first`, `fc.second`) counts as `fc`
    memory = bytes of all layers + activations, the most that live at once

What belongs to no layer of the original is its own part, named "". A sketch is what has to be kept of a program to
price it for any board.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from compressor.graph.concrete import concrete_values
from compressor.graph.contract import Context
from compressor.graph.outline import Outline, outline
from compressor.graph.program import Program
from compressor.plan.problem import Axis

__all__ = ["ACTIVATIONS", "REST", "Parts", "Sketch", "origin", "parts_of", "priced", "sketched"]

REST = ""
ACTIVATIONS = "(activations)"


@dataclass(frozen=True)
class Parts:
    """Milliseconds and bytes by layer; bytes of activations."""

    latency: Mapping[str, float]
    size: Mapping[str, float]
    activations: float

    @property
    def latency_ms(self) -> float:
        return sum(self.latency.values())

    @property
    def bytes(self) -> float:
        return sum(self.size.values())

    @property
    def memory(self) -> float:
        return self.bytes + self.activations

    @property
    def layers(self) -> set[str]:
        """All that cost something."""
        return {*self.latency, *self.size}

    def of(self, axis: Axis) -> Mapping[str, float]:
        """By layer; memory's activations as if they were one."""
        if axis == "memory":
            return {**self.size, ACTIVATIONS: self.activations}
        return self.latency if axis == "latency" else self.size


@dataclass(frozen=True)
class Sketch:
    """What a program does and the bytes that it stores, by its own layers."""

    outline: Outline
    size: Mapping[str, float]


def origin(name: str, layers: Collection[str]) -> str:
    """The layer of the original that a layer or parameter belongs to: itself, or the nearest that its name is under."""
    while name and name not in layers:
        name = name.rpartition(".")[0]
    return name


def sketched(program: Program) -> Sketch:
    """Of a program at a batch of one."""
    return Sketch(outline(program, concrete_values(program, 1)), _sizes(program))


def priced(sketch: Sketch, context: Context, layers: Collection[str] | None = None) -> Parts:
    """The parts of a program; `layers` are those of the original, where this is another one.

    Without a latency model no layer takes time. What earlier measurements put on every time (`Estimate.factor`) is
    taken off again: it grows with every run, and parts are kept.
    """
    estimate = None if context.latency is None else context.latency.price(sketch.outline, context.target)
    kernels = () if estimate is None else estimate.kernels
    factor = 1.0 if estimate is None else estimate.factor
    known = layers if layers is not None else {*sketch.size, *(kernel.layer for kernel in kernels)} - {REST}
    latency: dict[str, float] = {}
    for kernel in kernels:
        name = origin(kernel.layer, known)
        latency[name] = latency.get(name, 0.0) + kernel.latency_ms / factor
    size: dict[str, float] = {}
    for layer, stored in sketch.size.items():
        name = origin(layer, known)
        size[name] = size.get(name, 0.0) + stored
    peak = estimate.peak_activation_bytes if estimate is not None else 0
    return Parts(dict(sorted(latency.items())), dict(sorted(size.items())), float(peak))  # in the order of what is kept


def parts_of(program: Program, context: Context, layers: Collection[str] | None = None) -> Parts:
    """Of a program that is at hand."""
    return priced(sketched(program), context, layers)


def _sizes(program: Program) -> dict[str, float]:
    """Bytes by layer; what several share counts for the first."""
    seen: set[int] = set()
    found: dict[str, float] = {}
    for name, tensor in program.tensors().items():
        storage = tensor.untyped_storage()
        layer = name.rpartition(".")[0] or name
        found.setdefault(layer, 0.0)
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            found[layer] += tensor.numel() * tensor.element_size()
    return found
