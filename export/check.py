"""Runs an artifact in ONNX Runtime and holds it to the PyTorch program, on the same inputs.

    relative RMS error = ‖artifact − program‖ / ‖program‖        over all batches, an output at a time

The tolerance belongs to the lowering: floats differ by the order of sums; integer kernels by one quantization step
where a value lies between two, which the layers behind it carry on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.errors import InputError, MismatchError
from compressor.export.session import Runner, give_back_memory, runner
from compressor.graph.contract import Batch
from compressor.graph.edit import is_call
from compressor.graph.program import Program

__all__ = [
    "FP16", "FP32", "INT8", "Agreement", "OutputAgreement", "Runner", "Tolerance", "check", "compare", "runner",
    "tolerance_of",
]  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """`relative_rms` bounds each float output's error; `equal` the share of equal elements in an integer one."""

    relative_rms: float
    equal: float


FP32 = Tolerance(1e-4, 0.999)
FP16 = Tolerance(1e-2, 0.99)
INT8 = Tolerance(2e-2, 0.95)


@dataclass(frozen=True)
class OutputAgreement:
    """How far one output of the artifact is from the program's; `equal` is the share of equal elements."""

    name: str
    max_abs: float
    relative_rms: float
    cosine: float
    equal: float


@dataclass(frozen=True)
class Agreement:
    """Figures by output over all batches, the sizes tried beyond the example's, and what could not be tried.

    `tolerance` is the relative RMS error that was allowed.
    """

    outputs: tuple[OutputAgreement, ...]
    tolerance: float
    samples: int
    sizes: tuple[Mapping[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The worst relative RMS error of an output."""
        return max((output.relative_rms for output in self.outputs), default=0.0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tolerance_of(program: Program) -> Tolerance:
    """The tolerance of its coarsest arithmetic: int8 where it is quantized, else fp16 or bf16, else fp32."""
    if any(is_call(node, torch.ops.compressor.quantize.default) for node in program.graph.nodes):
        return INT8
    halves = (torch.float16, torch.bfloat16)
    values = (node.meta.get("val") for node in program.graph.nodes)
    return FP16 if any(isinstance(v, Tensor) and v.dtype in halves for v in values) else FP32


def check(
    program: Program,
    model_path: Path,
    batches: Sequence[Batch] = (),
    *,
    tolerance: Tolerance | None = None,
    threads: int | None = None,
    exact: bool = True,
) -> Agreement:
    """Compare on these batches (the example if there are none), and at another size of each dynamic dimension.

    `exact` as in `runner`: the artifact is judged, not this machine's processor; a target that is this machine or
    one like it wants False. Raises MismatchError with the output and its figures; ExportError or UnsupportedError
    when it does not run.
    """
    given = list(batches) or [dict(zip((s.name for s in program.inputs), program.example, strict=True))]
    run = runner(model_path, threads, exact=exact)
    wanted = tolerance or tolerance_of(program)
    outputs = compare(program, run, given, wanted, where=model_path.name)
    sizes, notes = [], []
    for batch in _resized(program, given[0]):
        size = _sizes(program, batch)
        shown = ", ".join(f"{name}={value}" for name, value in size.items())
        try:
            expected = program.run(batch)
        except (InputError, RuntimeError) as error:
            notes.append(f"not tried at {shown}: the model itself rejects it ({str(error).splitlines()[0][:120]})")
            continue
        compare(program, run, [batch], wanted, where=f"{model_path.name} at {shown}", expected=[expected])
        sizes.append(size)
    del run
    give_back_memory()
    samples = sum(next((len(t) for t in batch.values() if t.dim()), 1) for batch in given)
    return Agreement(outputs, wanted.relative_rms, samples, tuple(sizes), tuple(notes))


def compare(
    program: Program, run: Runner, batches: Sequence[Batch], tolerance: Tolerance, *, where: str,
    expected: Iterable[Mapping[str, Tensor]] | None = None,
) -> tuple[OutputAgreement, ...]:  # fmt: skip
    """The figures of each output over the batches; `expected` are the program's outputs where they are known already.

    Raises MismatchError beyond the tolerance.
    """
    sums = {spec.name: _Sums() for spec in program.outputs}
    for batch, wanted in zip(batches, map(program.run, batches) if expected is None else expected, strict=True):
        actual = run(batch)
        for name, value in wanted.items():
            if actual[name].shape != value.shape:
                shapes = f"{tuple(actual[name].shape)}, not {tuple(value.shape)}"
                raise MismatchError(f"output {name!r} has shape {shapes}", where=where)
            sums[name].add(actual[name], value)
    outputs = tuple(total.figures(name) for name, total in sums.items())
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


class _Sums:
    """Running sums over batches, so that outputs need not be kept."""

    def __init__(self) -> None:
        self.error = self.square = self.other = self.product = self.max_abs = 0.0
        self.equal = self.count = 0

    def add(self, actual: Tensor, expected: Tensor) -> None:
        a, b = actual.double().flatten(), expected.double().flatten()
        same = (a == b) | (a.isnan() & b.isnan())
        self.count, self.equal = self.count + same.numel(), self.equal + int(same.sum())
        finite = ~(same & ~b.isfinite())
        a, b = a[finite], b[finite]
        difference = (a - b).nan_to_num(nan=math.inf)
        self.max_abs = max(self.max_abs, float(difference.abs().max()) if len(difference) else 0.0)
        self.error += float(difference.square().sum())
        a, b = a.nan_to_num(), b.nan_to_num()
        self.square, self.other = self.square + float(b.square().sum()), self.other + float(a.square().sum())
        self.product += float((a * b).sum())

    def figures(self, name: str) -> OutputAgreement:
        relative = math.sqrt(self.error / self.square) if self.square else math.sqrt(self.error / max(self.count, 1))
        norm = math.sqrt(self.square * self.other)
        cosine = self.product / norm if norm else float(self.square == self.other)
        return OutputAgreement(name, self.max_abs, relative, cosine, self.equal / self.count if self.count else 1.0)


def _sizes(program: Program, batch: Batch) -> dict[str, int]:
    return {
        dimension: size
        for spec in program.inputs
        for dimension, size in zip(spec.shape, batch[spec.name].shape, strict=True)
        if isinstance(dimension, str)
    }


def _resized(program: Program, batch: Batch) -> list[Batch]:
    """For each dynamic dimension, the same data with another size: a batch of two (three where it is two already), a
    sequence one position shorter. Never a size of one, which captured graphs treat as a case of its own."""
    made: list[Batch] = []
    for symbol, size in _sizes(program, batch).items():
        if not symbol.isidentifier() or size < 1:
            continue
        leading = any(spec.shape[:1] == (symbol,) for spec in program.inputs)
        if not leading and size <= 2:
            continue
        other = (3 if size == 2 else 2) if leading else size - 1
        keep = torch.arange(other) % size
        resized = dict(batch)
        for spec in program.inputs:
            for axis in [i for i, dimension in enumerate(spec.shape) if dimension == symbol]:
                resized[spec.name] = resized[spec.name].index_select(axis, keep)
        made.append(resized)
    return made
