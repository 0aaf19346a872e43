"""`--data`: calibration and evaluation batches, and labels where there are any, matched with a program's inputs.

Arrays under `calibration/` calibrate and those under `train/` train; neither is ever evaluated on. Without them the
first quarter of the samples, 512 at most, calibrates and the rest evaluates, or half trains and half evaluates where
something is to be trained; fewer than 16 samples serve for both, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.binding import bind, signature_of
from compressor.errors import InputError
from compressor.splitting import CALIBRATION_LIMIT, Batches, Span, batched, cut, split, total

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.fitting import Chunk
    from compressor.graph.contract import Batch
    from compressor.graph.program import Program
    from compressor.graph.signature import TensorSpec

__all__ = ["Dataset", "check_indices", "example_from_data", "load_data"]

STREAM_LIMIT = 2048  # samples read from a function that may never end


@dataclass(frozen=True)
class Dataset:
    """Batches by input name. `labels`, where there are any, align with `evaluation`; `notes` are for the report.

    `training` is everything that is not evaluated on; a batch of it holds `labels`, too, where the user gave some.
    """

    calibration: Sequence[Batch]
    evaluation: Sequence[Batch]
    labels: Sequence[Tensor] | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    training: Sequence[Batch] = ()


def load_data(
    data: Any, program_inputs: Sequence[TensorSpec], *, batch_size: int = 32, limit: int | None = None,
    train: bool = False,
) -> Dataset:  # fmt: skip
    """The data set behind `--data` for a program with these inputs.

    `data` is a path, `file.py:function`, a mapping of arrays, a function, or an iterable of batches. A program whose
    batch is fixed gets batches of that size exactly. `limit` caps the evaluation samples; `train` says that something
    is to be trained. Raises InputError when names, shapes, dtypes or lengths do not fit, when values are not finite,
    and when there are none; UntrustedError when reading would execute code.
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
    apart, taught = ([fitter.fit(given)] if given else [] for given in (source.calibration, source.training))
    if not any(map(len, (*chunks, *apart, *taught))):
        raise InputError("there are no samples", where=source.name)
    parts = split(chunks, apart, taught, fixed, train=train, note=fitter.note)
    evaluation = parts.evaluation
    if limit is not None and total(evaluation) > limit:
        fitter.note(f"evaluated on the first {limit} of {total(evaluation)} samples")
        evaluation = cut(evaluation, limit)[0]
    calibration, training, evaluation = (
        batched(spans, fixed, batch_size, fitter) for spans in (parts.calibration, parts.training, evaluation)
    )
    for span in (*calibration, *(training if train else ()), *evaluation):
        fitter.check_values(span.chunk, span.start, span.stop)
    labels = _labels(evaluation, source.name)
    trained = Batches(training if train else [], labelled=True)
    return Dataset(Batches(calibration), Batches(evaluation), labels, source.name, tuple(fitter.notes), trained)


def example_from_data(data: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` of the first two samples, to capture `module` with. Raises what `load_data` raises."""
    from compressor.fitting import normal
    from compressor.items import LABELS, check_filled, resolve
    from compressor.sources import open_source

    source = open_source(data)
    item = next(iter(source.items), source.calibration or source.training or None)
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
    for name, tensor in values.items():
        check_filled(name, tensor, source.name)
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
    for batch in (*dataset.calibration, *dataset.training, *dataset.evaluation):
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


def _labels(spans: Sequence[Span], source: str) -> list[Tensor] | None:
    labels = [span.chunk.labels_of(span.start, span.stop) for span in spans]
    present = [label for label in labels if label is not None]
    if present and len(present) < len(labels):
        raise InputError("some batches have labels and some have none", where=source)
    return present or None
