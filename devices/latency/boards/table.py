"""Latencies of models (or kernels) on profiled devices: a matrix with holes, checked when it is made.

Rows are models, columns devices. Several columns may come from one board (thread counts, runtimes, repeats): `boards`
says which, because such columns resemble each other and must not pass for evidence about another board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from compressor.errors import InputError, did_you_mean

__all__ = ["Floats", "Indices", "LatencyTable", "logs_of"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """`milliseconds` has shape (models, devices), with NaN where nothing was measured.

    `boards[j]` is the board that column j was measured on. Raises InputError for a shape that does not fit, a name
    given twice, a latency that is infinite, zero or negative, and a model or device without any latency.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...]
    boards: tuple[str, ...]
    milliseconds: Floats

    def __post_init__(self) -> None:
        shape = (len(self.models), len(self.devices))
        if self.milliseconds.shape != shape or len(self.boards) != len(self.devices) or 0 in shape:
            raise InputError(
                f"latencies of shape {self.milliseconds.shape} for {shape[0]} models and {shape[1]} devices",
                where="latency table",
                way_out="Give one row a model, one column a device, and the board of every column.",
            )
        for kind, names in (("model", self.models), ("device", self.devices)):
            twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
            if twice is not None:
                raise InputError(f"{kind} {twice!r} is there twice", where="latency table", way_out="Rename one.")
        for i, j in np.argwhere(~np.isnan(self.milliseconds)):
            _check(float(self.milliseconds[i, j]), self.models[i], self.devices[j])
        self._check_holes()

    @classmethod
    def of(cls, columns: Mapping[str, Mapping[str, float]], boards: Mapping[str, str] | None = None) -> Self:
        """From latencies in milliseconds by device and model; a device that `boards` lacks is a board of its own."""
        models = tuple(sorted({model for column in columns.values() for model in column}))
        values = [[column.get(model, np.nan) for column in columns.values()] for model in models]
        own = boards or {}
        matrix = np.array(values, dtype=np.float64).reshape(len(models), len(columns))
        return cls(models, tuple(columns), tuple(own.get(device, device) for device in columns), matrix)

    @property
    def logs(self) -> Floats:
        """Natural logarithms of the milliseconds, shape (models, devices)."""
        return np.log(self.milliseconds)

    def column(self, device: str) -> dict[str, float]:
        """What was measured on a device: milliseconds by model. Raises InputError for an unknown device."""
        if device not in self.devices:
            raise InputError(f"no device {device!r}", way_out=did_you_mean(device, list(self.devices)))
        values = self.milliseconds[:, self.devices.index(device)]
        return {m: float(v) for m, v in zip(self.models, values, strict=True) if not np.isnan(v)}

    def without(self, board: str) -> Self:
        """The table less every column of a board, and less the models that only that board has.

        Raises InputError when nothing is left.
        """
        stay = [j for j, name in enumerate(self.boards) if name != board]
        if not stay:
            raise InputError(f"no device but those of {board!r}", where="latency table")
        kept = self.milliseconds[:, stay]
        rows = np.flatnonzero(~np.isnan(kept).all(axis=1))
        models = tuple(self.models[i] for i in rows)
        devices, boards = (tuple(names[j] for j in stay) for names in (self.devices, self.boards))
        return type(self)(models, devices, boards, kept[rows])

    def _check_holes(self) -> None:
        empty = np.isnan(self.milliseconds)
        for kind, names, holes in (("model", self.models, empty.all(1)), ("device", self.devices, empty.all(0))):
            if holes.any():
                raise InputError(f"{kind} {names[int(holes.argmax())]!r} has no latency", where="latency table")


def logs_of(samples: Mapping[str, float], models: Sequence[str]) -> tuple[Indices, Floats]:
    """Rows and log milliseconds of samples, both of shape (samples,).

    Raises InputError for no samples, an unknown model, and a latency that is not a positive, finite number.
    """
    if not samples:
        raise InputError(
            "no measurements", where="calibration", way_out="Measure one model at least; 5 to 10 are good."
        )
    for model, value in samples.items():
        if model not in models:
            raise InputError(f"no source latency for {model!r}", way_out=did_you_mean(model, list(models)))
        _check(value, model, "the new device")
    rows = np.array([models.index(model) for model in samples], dtype=np.intp)
    return rows, np.log(np.array(list(samples.values()), dtype=np.float64))


def _check(value: float, model: str, device: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InputError(
            f"latency of {model!r} on {device} is {value} ms", way_out="Latencies are positive numbers of milliseconds."
        )
