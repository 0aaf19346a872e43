"""Runs an artifact, in ONNX Runtime unless told otherwise, and holds it to the PyTorch program, on the same inputs.

The tolerance belongs to the lowering: floats differ by the order of sums. Where that makes an integer program round
some values the other way, and depth carries the steps on, what it does to the program itself is allowed (`jitter`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from compressor.errors import InputError, MismatchError
from compressor.export.agreement import Agreement, OutputAgreement, Tolerance, figures, is_rounding, tolerance_of
from compressor.export.jitter import jitter
from compressor.export.session import Runner, give_back_memory, runner
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import cache_of, going_on, length_of, of_length, with_past
from compressor.graph.naming import SEQUENCE
from compressor.graph.program import Program

__all__ = ["check", "compare"]


def check(
    program: Program, model_path: Path, batches: Sequence[Batch] = (), *, threads: int | None = None,
    exact: bool = True, run: Runner | None = None,
) -> Agreement:  # fmt: skip
    """Compare on these batches (the example if there are none), and at another size of each dynamic dimension.

    `exact` as in `runner`: the artifact is judged, not this machine's processor; a target that is this machine or
    one like it wants False. `run` is what runs it, where that is not ONNX Runtime. Raises MismatchError with the output
    and its figures; ExportError or UnsupportedError when it does not run.
    """
    given = list(batches) or [dict(zip((s.name for s in program.inputs), program.example, strict=True))]
    run = run or runner(model_path, threads, exact=exact)
    tolerance = tolerance_of(program)
    outputs, tolerance = _held(program, run, given, None, tolerance, where=model_path.name)
    sizes, notes = [], []
    for batch in _resized(program, given[0]):
        size = _sizes(program, batch)
        shown = ", ".join(f"{name}={value}" for name, value in size.items())
        try:
            expected = program.run(batch)
        except (InputError, RuntimeError, IndexError) as error:
            notes.append(f"not tried at {shown}: the model itself rejects it ({str(error).splitlines()[0][:120]})")
            continue
        _, tolerance = _held(program, run, [batch], [expected], tolerance, where=f"{model_path.name} at {shown}")
        sizes.append(size)
    del run
    give_back_memory()
    if tolerance.relative_rms > tolerance_of(program).relative_rms:
        notes.append(
            "this integer program is sensitive: sums in another order alone move its outputs by "
            f"{tolerance.relative_rms / 2:.1%} in PyTorch"
        )
    samples = sum(next((len(t) for t in batch.values() if t.dim()), 1) for batch in given)
    return Agreement(outputs, tolerance.relative_rms, samples, tuple(sizes), tuple(notes), tolerance.reason)


def _held(
    program: Program, run: Runner, batches: Sequence[Batch], expected: Sequence[Mapping[str, Tensor]] | None,
    tolerance: Tolerance, *, where: str,
) -> tuple[tuple[OutputAgreement, ...], Tolerance]:  # fmt: skip
    """`compare`, once more with what rounding in another order is worth where it has to be."""
    try:
        return compare(program, run, batches, tolerance, where=where, expected=expected), tolerance
    except MismatchError:
        if not is_rounding(program):
            raise
    noise = jitter(program, batches)
    tolerance = Tolerance(
        max(tolerance.relative_rms, noise.relative_rms), min(tolerance.equal, noise.equal), tolerance.reason
    )
    return compare(program, run, batches, tolerance, where=where, expected=expected), tolerance


def compare(
    program: Program, run: Runner, batches: Sequence[Batch], tolerance: Tolerance, *, where: str,
    expected: Sequence[Mapping[str, Tensor]] | None = None,
) -> tuple[OutputAgreement, ...]:  # fmt: skip
    """The figures of each output over the batches; `expected` are the program's outputs where they are known already.

    Raises MismatchError beyond the tolerance.
    """
    wanted = map(program.run, batches) if expected is None else expected
    outputs = figures(program, ((run(batch), value) for batch, value in zip(batches, wanted, strict=True)), where=where)
    for spec, output in zip(program.outputs, outputs, strict=True):
        floating = spec.dtype.is_floating_point
        good = output.relative_rms <= tolerance.relative_rms if floating else output.equal >= tolerance.equal
        if not good:
            raise MismatchError(
                f"output {output.name!r} disagrees with PyTorch: relative RMS error {output.relative_rms:.2e}, "
                f"largest difference {output.max_abs:.2e}, cosine {output.cosine:.6f}, equal {output.equal:.2%}; "
                f"allowed is {tolerance.relative_rms:.0e}" + ("" if floating else f", equal {tolerance.equal:.1%}"),
                where=where,
                way_out="Nothing was written. Try without the last pass (--passes), or report it with the model.",
            )
    return outputs


def _sizes(program: Program, batch: Batch) -> dict[str, int]:
    return {
        dimension: size
        for spec in program.inputs
        for dimension, size in zip(spec.shape, batch[spec.name].shape, strict=True)
        if isinstance(dimension, str)
    }


def _resized(program: Program, batch: Batch) -> list[Batch]:
    """For each dynamic dimension, the same data with another size: a batch of two (three where it is two already), a
    sequence one position shorter. Never a size of one, which captured graphs treat as a case of its own.

    A program with a key–value cache goes on besides, behind half of each text and behind all of it but a token.
    """
    made: list[Batch] = []
    if cache_of(program.inputs):
        length = length_of(program.inputs, batch)
        made += [going_on(program, batch, first) for first in {length // 2, length - 1} if first > 0]
    for symbol, size in _sizes(program, batch).items():
        if not symbol.isidentifier() or size < 1:
            continue
        leading = any(spec.shape[:1] == (symbol,) for spec in program.inputs)
        if not leading and size <= 2:
            continue
        other = (3 if size == 2 else 2) if leading else size - 1
        keep = torch.arange(other) % size
        if symbol == SEQUENCE and cache_of(program.inputs):
            made.append(with_past(program.inputs, of_length(program.inputs, batch, other)))
            continue
        resized = dict(batch)
        for spec in program.inputs:
            for axis in [i for i, dimension in enumerate(spec.shape) if dimension == symbol]:
                resized[spec.name] = resized[spec.name].index_select(axis, keep)
        made.append(resized)
    return made
