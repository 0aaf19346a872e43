"""A model of how many instructions an inference takes on an emulated core, from sums over a program's kernels.

    ŷ = Σ_f w_f x_f,   w = argmin_(w ≥ 0) Σ_i (1 − ŷ_i / y_i)²

x_f are multiply–accumulates by kind of kernel and format, bytes moved by kind of kernel, the number of kernels, and 1
for the call itself. The weights are instructions a unit, none negative: what a kernel does cannot be undone by another
(Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23; found here one coordinate at a time).
The interval is the 0.9 quantile of |log ŷ/y| over networks that the fit had not seen. Instructions are no time.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import fx

from compressor.errors import InputError
from compressor.graph.concrete import Values, concrete_values
from compressor.graph.kernels import Kernel, schedule
from compressor.graph.program import Program

__all__ = ["InstructionModel", "Instructions", "Row", "cross_validated", "mape", "read_rows", "work_of", "write_rows"]

FOLDS = 5
_COVERED = 0.9
_CALL = "calls"  # one an inference
_MATRIX = frozenset({"linear", "matmul", "einsum", "attention"})
_SWEEPS, _STILL = 5_000, 1e-7
_OWN = ("style", "seed", "format", "instructions")

Floats = NDArray[np.float64]
Work = Mapping[str, float]
"""Sums over a program's kernels, by name: `macs conv2d int8`, `bytes softmax`, `kernels`."""


@dataclass(frozen=True)
class Row:
    """A network as it was counted. Rows of one `style` and `seed` are one network in several formats."""

    style: str
    seed: int
    format: str
    work: Work
    instructions: int


@dataclass(frozen=True)
class Instructions:
    """A prediction, with the interval that 9 of 10 unseen networks fell into."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class InstructionModel:
    """Instructions a unit of each sum, and the factor within which 9 of 10 unseen networks lie."""

    weights: Mapping[str, float]
    factor: float

    @classmethod
    def fit(cls, rows: Sequence[Row]) -> InstructionModel:
        """Raises InputError for fewer networks than folds."""
        pairs = cross_validated(rows)
        errors = [abs(math.log(max(predicted, 1.0) / row.instructions)) for row, predicted in pairs]
        return cls(_fitted(rows), math.exp(float(np.quantile(errors, _COVERED))))

    def predict(self, work: Work) -> Instructions:
        expected = _predicted(self.weights, work)
        return Instructions(expected / self.factor, expected, expected * self.factor)


def work_of(program: Program) -> dict[str, float]:
    """The sums of one inference of one sample."""
    values = concrete_values(program)
    found: dict[str, float] = defaultdict(float)
    for kernel in schedule(program, values).kernels:
        kind = _kind(kernel, values)
        found["kernels"] += 1
        found[f"bytes {kind}"] += sum(kernel.weights.values()) + kernel.activation_bytes
        if kernel.macs:
            found[f"macs {kind} {kernel.arithmetic}"] += kernel.macs
    return dict(found)


def cross_validated(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Every row with what a model predicts that has not seen its network. Raises InputError for too few networks."""
    networks = sorted({(row.seed, row.style) for row in rows})
    if len(networks) < FOLDS:
        way_out = f"Count {FOLDS} or more."
        raise InputError(f"{len(networks)} networks", where="instruction table", way_out=way_out)
    fold = {network: index % FOLDS for index, network in enumerate(networks)}
    found = []
    for held in range(FOLDS):
        weights = _fitted([row for row in rows if fold[row.seed, row.style] != held])
        unseen = [row for row in rows if fold[row.seed, row.style] == held]
        found += [(row, _predicted(weights, row.work)) for row in unseen]
    return found


def mape(pairs: Iterable[tuple[Row, float]]) -> float:
    """Mean absolute error as a share of what was counted."""
    return float(np.mean([abs(predicted / row.instructions - 1) for row, predicted in pairs]))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """One row a network, one column a sum."""
    names = sorted({name for row in rows for name in row.work})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_OWN, *names])
        for row in rows:
            sums = [f"{row.work.get(name, 0):.0f}" for name in names]
            writer.writerow([row.style, row.seed, row.format, row.instructions, *sums])


def read_rows(path: Path) -> list[Row]:
    """Raises InputError for what is no such table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        way_out = "Make it with benchmarks/instructions.py --table."
        raise InputError(f"cannot be read: {error!r}", where=str(path), way_out=way_out) from error


def _row(line: Mapping[str, str]) -> Row:
    work = {name: float(value) for name, value in line.items() if name not in _OWN and float(value)}
    return Row(line["style"], int(line["seed"]), line["format"], work, int(line["instructions"]))


def _kind(kernel: Kernel, values: Values) -> str:
    """Of a kernel; convolutions of one channel a group are a kind of their own, and all products of matrices one."""
    if kernel.kind in _MATRIX:
        return "matmul"
    weight = kernel.anchor.args[1] if kernel.kind == "conv2d" else None
    if isinstance(weight, fx.Node):
        shape = values[weight].shape
        return "depthwise" if len(shape) > 1 and shape[1] == 1 else "conv2d"
    return kernel.kind


def _predicted(weights: Mapping[str, float], work: Work) -> float:
    return weights.get(_CALL, 0.0) + sum(weights.get(name, 0.0) * value for name, value in work.items())


def _fitted(rows: Sequence[Row]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row.work})
    table = np.array([[1.0, *(row.work.get(name, 0.0) for name in names)] for row in rows])
    counts = np.array([row.instructions for row in rows], dtype=np.float64)
    shares = table / counts.reshape(-1, 1)
    return dict(zip([_CALL, *names], map(float, _non_negative(shares)), strict=True))


def _non_negative(a: Floats) -> Floats:
    """argmin over w ≥ 0 of ‖a w − 1‖², one coordinate after another until none moves."""
    size = np.linalg.norm(a, axis=0)
    scaled = a / np.where(size > 0, size, 1.0)
    gram, slope = scaled.T @ scaled, -scaled.sum(axis=0)
    found = np.zeros(a.shape[1])
    for _ in range(_SWEEPS):
        most = 0.0
        for j in np.flatnonzero(size):
            step = max(-found[j], -slope[j])
            if step:
                found[j] += step
                slope += step * gram[:, j]
                most = max(most, abs(step))
        if most < _STILL:
            break
    return np.asarray(found / np.where(size > 0, size, 1.0))
