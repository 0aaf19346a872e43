"""The key–value cache in a program's signature: which inputs and outputs it is, and how one step's becomes the next's.

    past_key_values.0.key [batch, heads, past, size]   in
    present.0.key         [batch, heads, past + sequence, size]   out, and the next step's past

With an empty past (0 places) the program reads a whole text at once; with one it goes on behind it. Data hold no cache:
what a batch lacks of it is empty. An input as long as both (a mask) has the dimension `past + sequence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.graph.naming import BATCH, PAST, PAST_KEY_VALUES, SEQUENCE
from compressor.graph.signature import TensorSpec

if TYPE_CHECKING:
    from compressor.graph.program import Program

__all__ = [
    "PRESENT", "answers", "cache_of", "going_on", "is_member", "is_past", "least_of", "length_of", "next_past",
    "of_length", "past_of", "window_of", "with_past", "without_past",
]  # fmt: skip

PRESENT = "present"


def is_past(spec: TensorSpec) -> bool:
    """Whether an input is a member of a cache that may be empty."""
    return is_member(spec.name) and PAST in spec.shape


def is_member(name: str) -> bool:
    """Whether an input is called as a cache's members are."""
    return name.startswith(f"{PAST_KEY_VALUES}.")


def cache_of(inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs that are a cache; none where the program has none."""
    return tuple(spec for spec in inputs if is_past(spec))


def answers(outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The outputs that are no cache: what a model is judged by."""
    return tuple(spec for spec in outputs if not spec.name.startswith(f"{PRESENT}."))


def window_of(program: Program) -> int | None:
    """The most places that the program keeps, where it cuts its cache to a window; None where it grows on."""
    kept = {PAST_KEY_VALUES + spec.name.removeprefix(PRESENT): spec for spec in program.outputs}
    for spec in cache_of(program.inputs):
        size = kept[spec.name].shape[spec.shape.index(PAST)] if spec.name in kept else None
        if isinstance(size, int):
            return size
    return None


def least_of(window: int) -> int:
    """Places of a text, half of them the past, that show that a cache is cut to a window."""
    return 2 * (window + 2)


def with_past(inputs: Sequence[TensorSpec], batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The batch, with an empty cache for as many samples where it lacks one."""
    missing = [spec for spec in cache_of(inputs) if spec.name not in batch]
    if not missing:
        return batch
    known = (int(batch[s.name].shape[0]) for s in inputs if s.shape[:1] == (BATCH,) and s.name in batch)
    rows = next(known, 1)
    return {**batch, **{s.name: torch.zeros(s.concrete(**{BATCH: rows, PAST: 0}), dtype=s.dtype) for s in missing}}


def next_past(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The cache after a step, under the names of the inputs that take it."""
    return {
        PAST_KEY_VALUES + name.removeprefix(PRESENT): value
        for name, value in outputs.items()
        if name.startswith(f"{PRESENT}.")
    }


def without_past(inputs: Sequence[TensorSpec], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sequence alone, as if nothing came before it."""
    return {
        spec.name: _narrowed(spec, batch[spec.name], -length_of(inputs, batch))
        for spec in inputs
        if not is_past(spec) and spec.name in batch
    }


def length_of(inputs: Sequence[TensorSpec], batch: Mapping[str, Tensor]) -> int:
    """Places of the batch's sequence; 0 where no input has one."""
    found = ((s, s.shape.index(SEQUENCE)) for s in inputs if SEQUENCE in s.shape and s.name in batch)
    return next((int(batch[spec.name].shape[axis]) for spec, axis in found), 0)


def past_of(inputs: Sequence[TensorSpec], batch: Mapping[str, Tensor]) -> int:
    """Places that the batch's cache holds."""
    found = ((spec, spec.shape.index(PAST)) for spec in cache_of(inputs) if spec.name in batch)
    return next((int(batch[spec.name].shape[axis]) for spec, axis in found), 0)


def of_length(inputs: Sequence[TensorSpec], batch: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """The batch's texts without a past, cut or repeated from their start to so many places."""
    given = without_past(inputs, batch)
    places = torch.arange(length) % max(length_of(inputs, given), 1)
    for spec in inputs:
        for axis in _along(spec) if spec.name in given else ():
            given[spec.name] = given[spec.name].index_select(axis, places)
    return given


def going_on(program: Program, batch: Mapping[str, Tensor], first: int) -> dict[str, Tensor]:
    """The batch's texts from place `first` on, with what the program keeps of the places before as their past."""
    inputs = program.inputs
    text = without_past(inputs, batch)
    specs = [spec for spec in inputs if spec.name in text]
    before = {spec.name: _narrowed(spec, text[spec.name], first) for spec in specs}
    rest = {
        spec.name: _narrowed(spec, text[spec.name], first - length_of(inputs, text)) if SEQUENCE in spec.shape
        else text[spec.name]
        for spec in specs
    }  # fmt: skip
    return {**rest, **next_past(program.run(before))}


def _narrowed(spec: TensorSpec, value: Tensor, places: int) -> Tensor:
    """The first places, or, below 0, the last."""
    for axis in _along(spec):
        value = value.narrow(axis, 0 if places > 0 else value.shape[axis] + places, abs(places))
    return value


def _along(spec: TensorSpec) -> list[int]:
    """The dimensions of an input that count places of the sequence, or of past and sequence."""
    if is_past(spec):
        return []
    return [axis for axis, size in enumerate(spec.shape) if isinstance(size, str) and SEQUENCE in size]
