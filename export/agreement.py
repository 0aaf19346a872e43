"""How far an artifact is from its program, in figures, and how far it may be.

relative RMS error = ‖artifact − program‖ / ‖program‖        over all batches, an output at a time

What may differ, and by how much (stated here once; the tests hold every format to it on trained networks):

    fp32   1e-4   sums are added in another order
    fp16   1e-2   … and each value is rounded to 11 bits
    int8   2e-2   an integer convolution's codes are the same bit for bit, and a linear layer's sums whole numbers times
                  one scale; but where another layer's float result lies at a rounding tie, a code may fall to the
                  other side, by one unit of 1/255 of the range
    int4 … ternary   2e-2 where x is rounded to int8 by block: each block's sum is whole, and B blocks' sums are
                  added in float32, within (B + 2) · 2⁻²⁴ · Σ_b |s_x s_w acc_b| of exact. x itself is rounded
                  as the runtime's x86 kernels do it, ties included; where another layer's sums come before, as above.
                  1e-4 where x stays float

A program that is more sensitive than that (one rounding after the other in a deep network) is allowed twice what sums
in another order move it by in PyTorch (`export/jitter.py`), and a note says so. x86 without VNNI is not held to it:
its products of 8-bit weights saturate in 16 bits, so weights have 7 there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.errors import MismatchError
from compressor.graph.edit import argument, is_call
from compressor.graph.program import Program

__all__ = [
    "FP16", "FP32", "INT8", "Agreement", "OutputAgreement", "Tolerance", "distance", "figures", "is_rounding",
    "tolerance_of",
]  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """`relative_rms` bounds each float output's error; `equal` the share of equal elements in an integer one.

    `reason` is what makes them differ, in a phrase.
    """

    relative_rms: float
    equal: float
    reason: str = ""


FP32 = Tolerance(1e-4, 0.999, "float32 sums in another order")
FP16 = Tolerance(1e-2, 0.99, "half precision's rounding")
INT8 = Tolerance(2e-2, 0.95, "integer sums are exact; values at a rounding tie may fall to the other side")


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

    `tolerance` is the relative RMS error that was allowed, and `reason` why any is.
    """

    outputs: tuple[OutputAgreement, ...]
    tolerance: float
    samples: int
    sizes: tuple[Mapping[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def error(self) -> float:
        """The worst relative RMS error of an output."""
        return max((output.relative_rms for output in self.outputs), default=0.0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tolerance_of(program: Program) -> Tolerance:
    """The tolerance of its coarsest arithmetic: int8 where it is quantized, else fp16 or bf16, else fp32."""
    if is_rounding(program):
        return INT8
    halves = (torch.float16, torch.bfloat16)
    values = (node.meta.get("val") for node in program.graph.nodes)
    return FP16 if any(isinstance(v, Tensor) and v.dtype in halves for v in values) else FP32


def is_rounding(program: Program) -> bool:
    """Whether values are rounded to integers on the way, by an operator of its own or inside a product."""
    ops = torch.ops.compressor
    return any(
        is_call(node, ops.quantize.default) or (is_call(node, ops.linear_blocks.default) and argument(node, "integer"))
        for node in program.graph.nodes
    )


def figures(
    program: Program, pairs: Iterable[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]], *, where: str
) -> tuple[OutputAgreement, ...]:
    """The figures of each output over pairs of (artifact's, program's) outputs.

    Raises MismatchError where a shape differs.
    """
    sums = {spec.name: _Sums() for spec in program.outputs}
    for actual, expected in pairs:
        for name, value in expected.items():
            if actual[name].shape != value.shape:
                shapes = f"{tuple(actual[name].shape)}, not {tuple(value.shape)}"
                raise MismatchError(f"output {name!r} has shape {shapes}", where=where)
            sums[name].add(actual[name], value)
    return tuple(total.figures(name) for name, total in sums.items())


def distance(actual: Tensor, expected: Tensor) -> OutputAgreement:
    """How far one tensor is from another of its shape; NaN in the same place is no difference."""
    total = _Sums()
    total.add(actual, expected)
    return total.figures("")


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
