"""How far the order of sums alone moves a program that rounds to integers.

    y′ = f(x) · (1 + ε n),   n ~ N(0, 1),   after every float operator

Two runtimes compute the same float to a few units in the last place. Where such a value lies between two integer
steps they round it differently, and deep networks carry the step on: measured here by doing the same to the program
itself. An artifact that is further away than that computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.agreement import Tolerance, figures
from compressor.graph.contract import Batch
from compressor.graph.edit import is_call
from compressor.graph.program import Program

__all__ = ["EPSILON", "jitter"]

EPSILON = 1e-6  # a few units in the last place of float32, as sums of some hundred products differ by their order
SEEDS = 2
MARGIN = 2.0  # two runtimes err independently
_EXACT = (torch.ops.compressor.quantize.default, torch.ops.compressor.dequantize.default)  # no sums: same everywhere


def jitter(program: Program, batches: Sequence[Batch]) -> Tolerance:
    """What rounding in another order must be allowed: twice the worst that was seen over all outputs and seeds."""
    error, unequal = 0.0, 0.0
    for seed in range(SEEDS):
        noisy = _Noisy(program, seed)
        for output in figures(program, ((noisy.outputs(b), program.run(b)) for b in batches), where="jitter"):
            error, unequal = max(error, output.relative_rms), max(unequal, 1.0 - output.equal)
    return Tolerance(MARGIN * error, 1.0 - MARGIN * unequal)


class _Noisy(fx.Interpreter):
    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(program.module)
        self.program, self.random = program, torch.Generator().manual_seed(seed)

    def outputs(self, batch: Batch) -> Mapping[str, Tensor]:
        with torch.no_grad():
            results = self.run(*self.program.flatten(batch))
        return dict(zip((spec.name for spec in self.program.outputs), results, strict=True))

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        exact = is_call(n, *_EXACT)
        if n.op != "call_function" or exact or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        noise = torch.randn(value.shape, generator=self.random, dtype=torch.float32).mul_(EPSILON).add_(1.0)
        return value * noise.to(value.dtype)
