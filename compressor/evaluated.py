"""What the tables of `compress inspect` measure on: some of the evaluation data, and the metric where it has labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressor.data import Dataset
from compressor.passes.reading.samples import limited

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.graph.contract import Batch
    from compressor.graph.program import Program
    from compressor.passes.reading.trials import Judge
    from compressor.prepare import Prepared

__all__ = ["Evaluated", "evaluated"]

SAMPLES = 16  # for the outputs' error
LABELLED = 128  # for a metric that counts labels


@dataclass(frozen=True)
class Evaluated:
    """Evaluation batches, none without data, and with labels the metric and what computes it of all their outputs."""

    prepared: Prepared
    batches: Sequence[Batch]
    judge: Judge | None = None

    @property
    def samples(self) -> int:
        return sum(_count(batch) for batch in self.batches)

    @property
    def metric(self) -> str | None:
        """Its name, where there are labels."""
        return None if self.judge is None else self.prepared.metric.name

    def drop(self, exact: float, value: float) -> float:
        """How much worse a value of the metric is."""
        return self.prepared.metric.decline(exact, value)


def evaluated(program: Program, prepared: Prepared) -> Evaluated:
    """The first samples of the evaluation data: more where labels are counted."""
    if prepared.dataset is None:
        return Evaluated(prepared, [])
    labels = prepared.dataset.labels
    batches = limited(program, prepared.dataset.evaluation, SAMPLES if labels is None else LABELLED)
    if labels is None:
        return Evaluated(prepared, batches)
    cut = [label[: _count(batch)] for label, batch in zip(labels, batches, strict=False)]
    return Evaluated(prepared, batches, _judge(prepared, program, batches, cut))


def _count(batch: Batch) -> int:
    value = next(iter(batch.values()))
    return len(value) if value.dim() else 1


def _judge(prepared: Prepared, program: Program, batches: Sequence[Batch], labels: Sequence[Tensor]) -> Judge:
    """The metric over outputs that are there already: a run hands out the next batch's."""
    judged = Dataset(calibration=[], evaluation=list(batches), labels=list(labels), source="--data")
    names = [spec.name for spec in program.outputs]

    def judge(results: Sequence[Sequence[Tensor]]) -> float:
        left: Iterator[Sequence[Tensor]] = iter(results)
        return prepared.metric.evaluate(lambda _: dict(zip(names, next(left), strict=True)), judged, prepared.reference)

    return judge
