"""Example inputs for a model whose `forward` cannot be seen from here (TorchScript in its own process, `.pt2`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compressor.binding import nest
from compressor.errors import InputError
from compressor.graph.signature import dtype_named
from compressor.inputs import InputSpec
from compressor.items import check_filled, resolve
from compressor.sources import open_source
from compressor.synthetic import Slot, draw

__all__ = ["unbound_example", "unbound_inputs"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def unbound_inputs(specs: Sequence[InputSpec], *, seed: int) -> Inputs:
    """Seeded values, unnamed ones by position; integers are 0 or 1, since what they index is not known."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [(s.name, draw(Slot(dtype_named(s.dtype or "float32"), s.shape), None, generator)) for s in specs]
    return _inputs([(name, value) for name, value in drawn])


def unbound_example(data: Any) -> Inputs:
    """The first two samples, by position where there is one array. Raises what reading the data raises."""
    source = open_source(data)
    item = next(iter(source.items), source.calibration or None)
    if item is None:
        raise InputError("there are no samples", where=source.name)
    values, _ = resolve(item, [], 1, source.name)
    for name, value in values.items():
        check_filled(name, value, source.name)
    cut = {name: (value[:2] if value.dim() else value).clone() for name, value in values.items()}
    narrow = {name: value.float() if value.dtype == torch.float64 else value for name, value in cut.items()}
    return _inputs([(None if len(narrow) == 1 else name, value) for name, value in narrow.items()])


def _inputs(values: Sequence[tuple[str | None, torch.Tensor]]) -> Inputs:
    named = {name: value for name, value in values if name is not None}
    return tuple(value for name, value in values if name is None), nest(named)
