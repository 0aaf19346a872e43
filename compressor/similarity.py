"""Metrics that compare outputs with the original's: cosine similarity and mean squared error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.data import Dataset
from compressor.errors import InputError
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import answers
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec

__all__ = ["Cosine", "SquaredError", "mean_square"]

Run = Callable[[Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Cosine:
    """The mean cosine similarity with the original, a sample and an output at a time."""

    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, program: Program) -> Cosine:
        return cls(_float_outputs(program, "cosine"))

    def __call__(self, run: Run, dataset: Dataset, reference: Run | None) -> float:
        sums, counts = [0.0] * len(self.outputs), [0] * len(self.outputs)
        for ours, theirs in _pairs(run, dataset, reference):
            for index, spec in enumerate(self.outputs):
                similarity = _cosines(_rows(ours[spec.name]), _rows(theirs[spec.name]))
                sums[index] += float(similarity.sum())
                counts[index] += len(similarity)
        means = [total / count if count else math.nan for total, count in zip(sums, counts, strict=True)]
        return sum(means) / len(means)


@dataclass(frozen=True)
class SquaredError:
    """The mean squared difference from the original over every element of every output."""

    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, program: Program) -> SquaredError:
        return cls(_float_outputs(program, "mse"))

    def __call__(self, run: Run, dataset: Dataset, reference: Run | None) -> float:
        total, count = 0.0, 0
        for ours, theirs in _pairs(run, dataset, reference):
            for spec in self.outputs:
                total += float((ours[spec.name].double() - theirs[spec.name].double()).square().sum())
                count += ours[spec.name].numel()
        return total / count if count else math.nan


def mean_square(dataset: Dataset | None, program: Program) -> float:
    """The mean square of the program's float outputs on the first evaluation batch (the example without data)."""
    batch = dataset.evaluation[0] if dataset is not None else None
    results = program.run(batch)
    values = (results[spec.name] for spec in answers(program.outputs))
    outputs = [value.double() for value in values if value.is_floating_point()]
    return float(sum(value.square().sum() for value in outputs) / max(sum(value.numel() for value in outputs), 1))


def _float_outputs(program: Program, metric: str) -> tuple[TensorSpec, ...]:
    outputs = tuple(spec for spec in answers(program.outputs) if spec.dtype.is_floating_point)
    if not outputs:
        way_out = "Give a function of your own: --metric file.py:function."
        raise InputError("no output of the model holds floats", where=f"--metric {metric}", way_out=way_out)
    return outputs


def _pairs(
    run: Run, dataset: Dataset, reference: Run | None
) -> Iterator[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]:
    if reference is None:
        raise TypeError("this metric compares with the original: pass `reference`")
    for batch in dataset.evaluation:
        yield run(batch), reference(batch)


def _rows(value: Tensor) -> Tensor:
    """One row a sample; where a sample is one number, whose cosine would be its sign, the batch is one row."""
    single = value.dim() < 2 or value[0].numel() == 1
    return value.double().reshape(1, -1) if single else value.double().flatten(1)


def _cosines(ours: Tensor, theirs: Tensor) -> Tensor:
    """Row by row; two rows of zeros agree, and one with anything else does not."""
    norms = ours.norm(dim=1) * theirs.norm(dim=1)
    both_zero = (ours == 0).all(1) & (theirs == 0).all(1)
    cosine = (ours * theirs).sum(1) / torch.where(norms == 0, 1.0, norms)
    return torch.where(both_zero, 1.0, cosine)
