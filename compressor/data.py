"""`--data`: calibration and evaluation batches, and labels where there are any, matched with a program's inputs.

Arrays under `calibration/` calibrate and are never evaluated on. Without them the first quarter of the samples, 512 at
most, calibrates and the rest evaluates; fewer than 16 samples serve for both, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.binding import bind, signature_of
from compressor.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.fitting import Chunk
    from compressor.graph.contract import Batch
    from compressor.graph.program import Program
    from compressor.graph.signature import TensorSpec

__all__ = ["Dataset", "check_indices", "example_from_data", "load_data"]

CALIBRATION_SHARE = 4
CALIBRATION_LIMIT = 512
FEW = 16
STREAM_LIMIT = 2048  # samples read from a function that may never end


@dataclass(frozen=True)
class Dataset:
    """Batches by input name. `labels`, where there are any, align with `evaluation`; `notes` are for the report."""

    calibration: Sequence[Batch]
    evaluation: Sequence[Batch]
    labels: Sequence[Tensor] | None = None
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Span:
    """Samples `start` to `stop` of a chunk."""

    chunk: Chunk
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class _Batches(Sequence["Batch"]):
    """Batches that are cut and converted when they are asked for, so that mapped files stay on disk."""

    spans: Sequence[_Span]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Batches(self.spans[index])
        span = self.spans[index]
        return span.chunk.batch(span.start, span.stop)


def load_data(
    data: Any, program_inputs: Sequence[TensorSpec], *, batch_size: int = 32, limit: int | None = None
) -> Dataset:
    """The data set behind `--data` for a program with these inputs.

    `data` is a path, `file.py:function`, a mapping of arrays, a function, or an iterable of batches. A program whose
    batch is fixed gets batches of that size exactly. `limit` caps the evaluation samples. Raises InputError when names,
    shapes, dtypes or lengths do not fit, when values are not finite, and when there are none; UntrustedError when
    reading would execute code.
    """
    from compressor.fitting import Fitter, fixed_batch
    from compressor.sources import open_source

    source = open_source(data)
    fitter = Fitter(program_inputs, source.name)
    fixed = fixed_batch(program_inputs)
    chunks: list[Chunk] = []
    cap = (limit or STREAM_LIMIT) + CALIBRATION_LIMIT if source.streams else None
    for item in source.items:
        chunks.append(fitter.fit(item))
        if cap is not None and sum(map(len, chunks)) >= cap:
            fitter.note(f"read no more than {cap} samples")
            break
    apart = [fitter.fit(source.calibration)] if source.calibration else []
    if not any(map(len, (*chunks, *apart))):
        raise InputError("there are no samples", where=source.name)
    calibration, evaluation = _split(chunks, apart, fixed, fitter)
    if limit is not None and sum(map(len, evaluation)) > limit:
        fitter.note(f"evaluated on the first {limit} of {sum(map(len, evaluation))} samples")
        evaluation = _cut(evaluation, limit)[0]
    calibration = _batched(calibration, fixed, batch_size, fitter)
    evaluation = _batched(evaluation, fixed, batch_size, fitter)
    for span in dict.fromkeys((*calibration, *evaluation)):
        fitter.check_values(span.chunk, span.start, span.stop)
    labels = _labels(evaluation, source.name)
    return Dataset(_Batches(calibration), _Batches(evaluation), labels, source.name, tuple(fitter.notes))


def example_from_data(data: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` of the first two samples, to capture `module` with. Raises what `load_data` raises."""
    from compressor.fitting import normal
    from compressor.items import LABELS, resolve
    from compressor.sources import open_source

    source = open_source(data)
    item = next(iter(source.items), source.calibration or None)
    if item is None:
        raise InputError("there are no samples", where=source.name)
    signature = signature_of(module)
    names = [name for name in signature.names if name != LABELS or name in signature.required]
    expected = signature.required or tuple(names[:1])
    values, _ = resolve(item, names, len(expected), source.name)
    if len(values) == 1 and len(expected) == 1:
        values = {name if _takes(names, name) else expected[0]: v for name, v in values.items()}
    lengths = {tensor.shape[0] if tensor.dim() else None for tensor in values.values()}
    if lengths & {0}:
        raise InputError("there are no samples", where=source.name)
    cut = slice(0, 2) if len(lengths) == 1 and None not in lengths else slice(None)
    return bind(module, {name: normal(t[cut] if t.dim() else t, module).clone() for name, t in values.items()})


def check_indices(program: Program, dataset: Dataset) -> None:
    """Raises InputError for an index (a token id, say) beyond what the program looks up.

    Only batches with a value that the lookup's length seems to exclude are run, and only those that fail are refused.
    """
    from compressor.ranges import index_bounds
    from compressor.synthetic import accepts

    example = list(program.example)
    bounds = index_bounds(lambda: program.module(*example), example)
    for batch in (*dataset.calibration, *dataset.evaluation):
        for spec, bound in zip(program.inputs, bounds, strict=True):
            values = batch[spec.name]
            if bound is None or not values.numel() or (values.min() >= 0 and values.max() < bound):
                continue
            if not accepts(lambda flat: program.module(*flat), program.flatten(batch)):
                worst = int(values.max()) if values.max() >= bound else int(values.min())
                raise InputError(
                    f"input {spec.name!r} holds {worst}, the model looks up 0 to {bound - 1}",
                    where=dataset.source,
                    way_out="Was the data made for another vocabulary?",
                )


def _takes(names: Sequence[str], name: str) -> bool:
    return name.partition(".")[0] in names


def _split(
    chunks: Sequence[Chunk], apart: Sequence[Chunk], fixed: int | None, fitter: Any
) -> tuple[list[_Span], list[_Span]]:
    """Calibration and evaluation, disjoint where that is possible."""
    spans = [_Span(chunk, 0, len(chunk)) for chunk in chunks]
    separate = [_Span(chunk, 0, len(chunk)) for chunk in apart]
    if separate and spans:
        return separate, spans
    if separate:
        fitter.note("evaluated on the calibration data: there are no others")
        return separate, separate
    total, unit = sum(map(len, spans)), fixed or 1
    share = -(-min(total // CALIBRATION_SHARE, CALIBRATION_LIMIT) // unit) * unit
    if total < FEW or total - share < unit:
        fitter.note(f"the same {total} samples calibrate and evaluate: there are too few to split")
        return spans, spans
    fitter.note(f"the first {share} samples calibrate, the other {total - share} evaluate")
    return _cut(spans, share)


def _cut(spans: Sequence[_Span], count: int) -> tuple[list[_Span], list[_Span]]:
    """The first `count` samples, and the rest."""
    first: list[_Span] = []
    rest: list[_Span] = []
    for span in spans:
        taken = min(len(span), count)
        count -= taken
        if taken:
            first.append(_Span(span.chunk, span.start, span.start + taken))
        if taken < len(span):
            rest.append(_Span(span.chunk, span.start + taken, span.stop))
    return first, rest


def _batched(spans: Sequence[_Span], fixed: int | None, batch_size: int, fitter: Any) -> list[_Span]:
    """Spans of one batch each; what does not fill a fixed batch is left out, and noted."""
    size = fixed or batch_size
    pieces = [
        _Span(span.chunk, start, min(start + size, span.stop))
        for span in spans
        for start in range(span.start, span.stop, size)
    ]
    full = [piece for piece in pieces if not fixed or len(piece) == fixed]
    if not full:
        raise InputError(f"{sum(map(len, spans))} samples do not fill the model's fixed batch of {fixed}")
    if len(full) < len(pieces):
        left = sum(map(len, pieces)) - sum(map(len, full))
        fitter.note(f"left out {left} samples that do not fill the model's fixed batch of {fixed}")
    return full


def _labels(spans: Sequence[_Span], source: str) -> list[Tensor] | None:
    labels = [span.chunk.labels_of(span.start, span.stop) for span in spans]
    present = [label for label in labels if label is not None]
    if present and len(present) < len(labels):
        raise InputError("some batches have labels and some have none", where=source)
    return present or None
