"""What a model is judged by on the evaluation data, and how far it may fall.

accuracy      correct labels / labels, over an output of class scores
perplexity    exp(mean of −log p(next token)), over an output of token scores
cosine        mean over samples and outputs of ⟨a, b⟩ / (‖a‖·‖b‖), b the original's output
mse           mean of (a − b)², b the original's output
file.py:fn    the user's function of (outputs, labels)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.errors import InputError, did_you_mean
from compressor.userfile import is_function_text, load_function

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.data import Dataset
    from compressor.graph.contract import Batch
    from compressor.graph.program import Program

    Run = Callable[[Batch], Mapping[str, Tensor]]
    Score = Callable[[Run, Dataset, Run | None], float]

__all__ = ["Drop", "Metric", "load_metric", "parse_drop"]

METRICS = ("accuracy", "cosine", "mse", "perplexity")
_ROUNDING = 1e-9  # a drop of exactly the limit is allowed, whatever the floats say


@dataclass(frozen=True)
class Metric:
    """A number a model gets on a data set.

    `scale` is what a relative drop is relative to; None is the value before. The mean squared error has the mean
    square of the original's outputs there, because before any compression it is zero.
    """

    name: str
    higher_is_better: bool
    score: Score
    scale: float | None = None

    def evaluate(self, run: Run, dataset: Dataset, reference: Run | None = None) -> float:
        """The metric of `run`; `reference` runs the original, which cosine and mse compare with."""
        return self.score(run, dataset, reference)

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is, as a share of the scale; negative when it is better, NaN when either is."""
        decline = self.decline(before, after)
        scale = abs(before) if self.scale is None else self.scale
        return decline / scale if scale else math.copysign(math.inf, decline) if decline else decline

    def decline(self, before: float, after: float) -> float:
        """How much worse `after` is, in the metric's own unit."""
        return before - after if self.higher_is_better else after - before


@dataclass(frozen=True)
class Drop:
    """A limit on how far the metric may fall: a share of it, or points of a hundredth each."""

    amount: float
    absolute: bool
    text: str

    def exceeded(self, metric: Metric, before: float, after: float) -> bool:
        """Whether `after` is worse than `before` by more than this. What is not a number always is."""
        fall = metric.decline(before, after) if self.absolute else metric.drop(before, after)
        return not fall <= self.amount + _ROUNDING


def parse_drop(text: str) -> Drop:
    """Reads `--max-drop`: `1%` of the metric, or `1pt`, a hundredth. Raises InputError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|pt)\s*", text)
    if match is None:
        raise InputError(
            f"{text!r} is not a drop", where="--max-drop", way_out="Write 1% (of the metric) or 1pt (0.01 of accuracy)."
        )
    return Drop(float(match[1]) / 100, match[2] == "pt", text.strip())


def load_metric(metric: Any, dataset: Dataset | None, program: Program) -> Metric:
    """The metric that a name, `file.py:function` or a function asks for.

    None asks for accuracy where labels fit an output, else for cosine. Raises InputError for an unknown name, and when
    the data or the program's outputs do not fit the metric.
    """
    from compressor.scores import Accuracy, Custom, Perplexity
    from compressor.similarity import Cosine, SquaredError, mean_square

    if callable(metric) or is_function_text(str(metric)):
        function = metric if callable(metric) else load_function(metric, "--metric")
        name = getattr(function, "__name__", "metric")
        return Metric(name, not getattr(function, "lower_is_better", False), Custom(function, name))
    if metric is None:
        fits = dataset is not None and dataset.labels is not None and Accuracy.fits(dataset.labels[0], program)
        return load_metric("accuracy" if fits else "cosine", dataset, program)
    if metric == "accuracy":
        return Metric("accuracy", True, Accuracy.of(dataset, program))
    if metric == "cosine":
        return Metric("cosine", True, Cosine.of(program))
    if metric == "mse":
        return Metric("mse", False, SquaredError.of(program), mean_square(dataset, program))
    if metric == "perplexity":
        return Metric("perplexity", False, Perplexity.of(dataset, program))
    known = [*METRICS, "file.py:function"]
    raise InputError(f"unknown metric {metric!r}", where="--metric", way_out=did_you_mean(str(metric), known))
