"""Sketches as JSON: what an option leaves as it is in the original is said by its place there.

    [work, 1, 2, …]     a kernel or call of its own is written out, the others are those of the original

An option changes a few of some hundred calls, and every option is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from compressor.graph.calls import Call
from compressor.graph.outline import FUSIONS, Kernels, Outline, Work
from compressor.plan.parts import Sketch

__all__ = ["Differences"]


class _Plain(Protocol):
    def to_json(self) -> dict[str, Any]: ...
    @classmethod
    def from_json(cls, data: Mapping[str, Any], /) -> Self: ...


T = TypeVar("T", bound=_Plain)


class Differences:
    """Writes and reads sketches of what was made of one program."""

    def __init__(self, base: Sketch) -> None:
        drawn = base.outline
        self.calls = drawn.calls
        self.works = {fusion: drawn.kernels(fusion).works for fusion in FUSIONS}

    def written(self, sketch: Sketch) -> dict[str, Any]:
        """As JSON."""
        drawn = sketch.outline
        kernels = {fusion: drawn.kernels(fusion) for fusion in FUSIONS}
        return {
            "works": {fusion: _since(found.works, self.works[fusion]) for fusion, found in kernels.items()},
            "activations": {fusion: found.peak_activation_bytes for fusion, found in kernels.items()},
            "calls": _since(drawn.calls, self.calls),
            "size": list(sketch.size.items()),
        }

    def read(self, said: Mapping[str, Any]) -> Sketch:
        """Raises KeyError, TypeError, ValueError or IndexError for what is none."""
        known = {
            fusion: Kernels(_until(said["works"][fusion], works, Work), int(said["activations"][fusion]))
            for fusion, works in self.works.items()
        }
        drawn = Outline(known, _until(said["calls"], self.calls, Call))
        return Sketch(drawn, {str(name): float(size) for name, size in said["size"]})


def _since(found: Sequence[_Plain], base: Sequence[_Plain]) -> list[Any]:
    places = {each: place for place, each in enumerate(base)}
    return [places[each] if each in places else each.to_json() for each in found]


def _until(said: Sequence[Any], base: Sequence[T], kind: type[T]) -> tuple[T, ...]:
    return tuple(base[each] if isinstance(each, int) else kind.from_json(each) for each in said)
