"""Which samples calibrate, which train, and which are evaluated on; and batches of them, cut when they are asked for.

    train/ given            trains (its first 512 calibrate unless calibration/ is given); all others evaluate
    calibration/ given      calibrates and trains; all others evaluate
    neither                 the first quarter, 512 at most, calibrates, the rest evaluates
    neither, and training   the first half trains, its first 512 calibrate, the other half evaluates

What is evaluated on is never trained on: with fewer than 16 samples there is no training data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.errors import InputError

if TYPE_CHECKING:
    from compressor.fitting import Chunk, Fitter
    from compressor.graph.contract import Batch

__all__ = ["CALIBRATION_LIMIT", "Batches", "Parts", "Span", "batched", "cut", "split", "total"]

CALIBRATION_SHARE = 4
CALIBRATION_LIMIT = 512
FEW = 16
LABELS = "labels"


@dataclass(frozen=True, eq=False)
class Span:
    """Samples `start` to `stop` of a chunk."""

    chunk: Chunk
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Batches(Sequence["Batch"]):
    """Batches that are cut and converted when they are asked for, so that mapped files stay on disk.

    With `labelled`, the labels of those that have some are in the batch, too.
    """

    spans: Sequence[Span]
    labelled: bool = False

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Batches(self.spans[index], self.labelled)
        span = self.spans[index]
        batch = span.chunk.batch(span.start, span.stop)
        labels = span.chunk.labels_of(span.start, span.stop) if self.labelled else None
        return batch if labels is None or LABELS in batch else {**batch, LABELS: labels}


@dataclass(frozen=True)
class Parts:
    """Samples by what they are for."""

    calibration: list[Span]
    training: list[Span]
    evaluation: list[Span]


def split(
    chunks: Sequence[Chunk], calibration: Sequence[Chunk], training: Sequence[Chunk], fixed: int | None, *,
    train: bool, note: Any,
) -> Parts:  # fmt: skip
    """The parts of a data set: `chunks` are the samples that were not set apart. `train`: training needs some.

    `fixed` is the batch that the program insists on; `note` takes what the report is to say.
    """
    spans, apart, taught = (_spans(group) for group in (chunks, calibration, training))
    if taught and not apart:
        apart = cut(taught, CALIBRATION_LIMIT)[0]
    if apart and spans:
        return Parts(apart, taught or apart, spans)
    if apart:
        note("evaluated on the calibration data: there are no others")
        return Parts(apart, taught, apart)
    count, unit = total(spans), fixed or 1
    wanted = count // 2 if train else min(count // CALIBRATION_SHARE, CALIBRATION_LIMIT)
    share = -(-wanted // unit) * unit
    if count < FEW or count - share < unit:
        note(f"the same {count} samples calibrate and evaluate: there are too few to split")
        return Parts(spans, [], spans)
    first, rest = cut(spans, share)
    if train:
        note(f"the first {share} samples train, the other {count - share} evaluate")
        return Parts(cut(first, -(-CALIBRATION_LIMIT // unit) * unit)[0], first, rest)
    note(f"the first {share} samples calibrate, the other {count - share} evaluate")
    return Parts(first, first, rest)


def total(spans: Sequence[Span]) -> int:
    """How many samples these are."""
    return sum(map(len, spans))


def cut(spans: Sequence[Span], count: int) -> tuple[list[Span], list[Span]]:
    """The first `count` samples, and the rest."""
    first: list[Span] = []
    rest: list[Span] = []
    for span in spans:
        taken = min(len(span), count)
        count -= taken
        if taken:
            first.append(Span(span.chunk, span.start, span.start + taken))
        if taken < len(span):
            rest.append(Span(span.chunk, span.start + taken, span.stop))
    return first, rest


def batched(spans: Sequence[Span], fixed: int | None, batch_size: int, fitter: Fitter) -> list[Span]:
    """Spans of one batch each; what does not fill a fixed batch is left out, and noted."""
    size = fixed or batch_size
    pieces = [
        Span(span.chunk, start, min(start + size, span.stop))
        for span in spans
        for start in range(span.start, span.stop, size)
    ]
    full = [piece for piece in pieces if not fixed or len(piece) == fixed]
    if not full and pieces:
        raise InputError(f"{total(spans)} samples do not fill the model's fixed batch of {fixed}")
    if len(full) < len(pieces):
        left = total(pieces) - total(full)
        fitter.note(f"left out {left} samples that do not fill the model's fixed batch of {fixed}")
    return full


def _spans(chunks: Sequence[Chunk]) -> list[Span]:
    return [Span(chunk, 0, len(chunk)) for chunk in chunks]
