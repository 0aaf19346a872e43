"""What a change does to a network's outputs, on data: the divergence of its scores, else the relative squared error.

scores   mean KL(softmax y ‖ softmax ŷ)          values   ‖y − ŷ‖² / ‖y‖²
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.recover.losses.scores import kl
from compressor.passes.recover.outputs import match_outputs

__all__ = ["Judge"]


class Judge:
    """Compares programs of the same signature with one whose outputs it keeps."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.exact = [list(program.run(batch).values()) for batch in batches]
        self.outputs = match_outputs(program, program, self.exact[0]) if batches else []

    def damage(self, program: Program) -> float:
        """The mean over outputs and batches; 0 where nothing changed."""
        total = 0.0
        for batch, exact in zip(self.batches, self.exact, strict=True):
            ours = list(program.run(batch).values())
            total += sum(
                _apart(exact[output.ours], ours[output.ours], output.kind != "values", output.axis)
                for output in self.outputs
            )
        return total / max(len(self.batches) * len(self.outputs), 1)


def _apart(exact: Tensor, ours: Tensor, scores: bool, axis: int) -> float:
    if scores:
        return float(kl(ours.movedim(axis, -1), exact.movedim(axis, -1)).mean())
    return relative_error(exact, ours) ** 2
