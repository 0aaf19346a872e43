"""Metrics that judge outputs by labels: accuracy, perplexity, and the user's own function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressor.data import Dataset
from compressor.errors import CompressError, InputError
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import answers
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec
from compressor.userfile import own_line

__all__ = ["Accuracy", "Custom", "Perplexity", "token_input"]

Run = Callable[[Batch], Mapping[str, Tensor]]
IGNORED = -100  # PyTorch's cross entropy leaves out labels of this value


@dataclass(frozen=True)
class Accuracy:
    """The share of labels that are the class of the highest score. `axis` is where the classes of `output` lie."""

    output: str
    axis: int

    @classmethod
    def of(cls, dataset: Dataset | None, program: Program) -> Accuracy:
        """Raises InputError when there are no whole-number labels, or when they fit no output."""
        if dataset is None or dataset.labels is None:
            raise InputError(
                "accuracy needs labels",
                where="--metric",
                way_out="Add an array called labels to --data, or use cosine.",
            )
        found = cls._find(dataset.labels[0], program)
        if found is None:
            shapes = "; ".join(f"{spec.name} {_shape(spec)}" for spec in program.outputs)
            raise InputError(
                f"labels {_described(dataset.labels[0])} fit no output of class scores ({shapes})",
                where="--metric accuracy",
                way_out="Labels are class numbers, one a row of scores; another metric is --metric file.py:function.",
            )
        output, axis = found
        classes = next(spec.shape[axis] for spec in program.outputs if spec.name == output)
        worst = max(int(labels.max()) for labels in dataset.labels)
        if isinstance(classes, int) and worst >= classes:
            raise InputError(
                f"labels reach {worst}, output {output!r} scores {classes} classes",
                where=dataset.source,
                way_out="Number the classes from 0.",
            )
        return cls(output, axis)

    @classmethod
    def fits(cls, labels: Tensor, program: Program) -> bool:
        """Whether these labels fit an output of the program."""
        return cls._find(labels, program) is not None

    @classmethod
    def _find(cls, labels: Tensor, program: Program) -> tuple[str, int] | None:
        if labels.is_floating_point():
            return None
        for spec in answers(program.outputs):
            axis = _class_axis(spec, labels)
            if axis is not None:
                return spec.name, axis
        return None

    def __call__(self, run: Run, dataset: Dataset, reference: Run | None) -> float:
        right = total = 0
        for batch, labels in zip(dataset.evaluation, dataset.labels or (), strict=True):
            scores = run(batch)[self.output]
            if bool(torch.isnan(scores).any()):
                return math.nan  # argmax would call a NaN the best class
            classes, counted = scores.argmax(self.axis), labels != IGNORED
            if classes.shape != labels.shape:
                raise InputError(
                    f"labels {_described(labels)} do not fit output {self.output!r} of shape {tuple(scores.shape)}",
                    where=dataset.source,
                )
            right += int(((classes == labels) & counted).sum())
            total += int(counted.sum())
        return right / total if total else math.nan


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean cross entropy of each next token. `tokens` is the input they are read from, unless labelled."""

    output: str
    tokens: str | None

    @classmethod
    def of(cls, dataset: Dataset | None, program: Program) -> Perplexity:
        """Raises InputError when no output scores tokens, or when there are neither labels nor token ids."""
        scores = next((s for s in answers(program.outputs) if len(s.shape) == 3 and s.dtype.is_floating_point), None)
        if scores is None:
            raise InputError(
                "perplexity needs an output of token scores [batch, length, vocabulary]",
                where="--metric",
                way_out=f"The model's outputs: {', '.join(f'{s.name} {_shape(s)}' for s in program.outputs)}.",
            )
        if dataset is not None and dataset.labels is not None:
            return cls(scores.name, None)
        tokens = token_input(program, scores)
        if tokens is None:
            raise InputError("perplexity needs token ids or labels", where="--metric", way_out="Add labels to --data.")
        return cls(scores.name, tokens)

    def __call__(self, run: Run, dataset: Dataset, reference: Run | None) -> float:
        loss, count = 0.0, 0
        for index, batch in enumerate(dataset.evaluation):
            scores = run(batch)[self.output].float()
            given = batch[self.tokens] if self.tokens is not None else (dataset.labels or ())[index]
            wanted, known = given[:, 1:].long(), scores[:, :-1]
            if wanted.shape != known.shape[:2]:
                raise InputError(f"labels {tuple(given.shape)} do not fit token scores {tuple(scores.shape)}")
            loss += float(torch.nn.functional.cross_entropy(
                known.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
            ))  # fmt: skip
            count += int((wanted != IGNORED).sum())
        return _exp(loss / count) if count else math.nan


@dataclass(frozen=True)
class Custom:
    """The user's function of every output (a dict of them where there are several) and the labels, both whole."""

    function: Callable[..., Any]
    name: str

    def __call__(self, run: Run, dataset: Dataset, reference: Run | None) -> float:
        results = [run(batch) for batch in dataset.evaluation]
        outputs = {name: _joined([result[name] for result in results]) for name in results[0]}
        given = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        labels = None if dataset.labels is None else _joined(dataset.labels)
        try:
            return float(self.function(given, labels))
        except CompressError:
            raise
        except Exception as error:
            file = getattr(getattr(self.function, "__code__", None), "co_filename", "")
            raise InputError(
                f"the metric failed: {type(error).__name__}: {error}",
                where=f"{self.name} {own_line(error, file)}" if file else self.name,
                way_out="It is called as function(outputs, labels) and returns one number.",
            ) from error


def _class_axis(spec: TensorSpec, labels: Tensor) -> int | None:
    """Where the classes lie if one row of scores belongs to each label: last, or for images after the batch."""
    shape, wanted = spec.shape, labels.shape
    if not spec.dtype.is_floating_point or len(shape) != len(wanted) + 1 or not len(wanted):
        return None

    def agree(sizes: Sequence[int | str]) -> bool:
        return all(isinstance(s, str) or s == w for s, w in zip(sizes[1:], wanted[1:], strict=True))

    last, second = agree(shape[:-1]), agree((shape[0], *shape[2:]))
    if last and second:
        return 1 if len(shape) > 3 else len(shape) - 1
    return len(shape) - 1 if last else 1 if second else None


def token_input(program: Program, scores: TensorSpec) -> str | None:
    """The input of token ids: of the scores' batch and length, the one that looks up the largest table."""
    from compressor.ranges import index_bounds

    example = list(program.example)
    bounds = index_bounds(lambda: program.module(*example), example)
    fitting = [
        (bound or 0, spec.name)
        for spec, bound in zip(program.inputs, bounds, strict=True)
        if spec.shape == scores.shape[:2] and not spec.dtype.is_floating_point and spec.dtype != torch.bool
    ]
    # Of an encoder's and a decoder's ids, which look up the same table, the decoder's come later.
    return max(reversed(fitting), key=lambda pair: pair[0])[1] if fitting else None


def _joined(values: Sequence[Tensor]) -> Any:
    """Batches one after the other; a list of them where their shapes differ beyond the batch."""
    if all(value.dim() and value.shape[1:] == values[0].shape[1:] for value in values):
        return torch.cat(list(values))
    return list(values)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _shape(spec: TensorSpec) -> str:
    return f"[{', '.join(map(str, spec.shape))}]"


def _described(labels: Tensor) -> str:
    return f"of shape {tuple(labels.shape)} and type {str(labels.dtype).removeprefix('torch.')}"
