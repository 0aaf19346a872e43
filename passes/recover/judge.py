"""How far a program's outputs are from the original's: the recovery engine's own loss, on calibration data.

damage = mean KL(softmax y ‖ softmax ŷ) for classes and tokens, ‖y − ŷ‖²/‖y‖² + 1 − cos(y, ŷ) for values
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.contract import Batch
from compressor.graph.kv_cache import answers
from compressor.graph.program import Program
from compressor.passes.reading.samples import is_divisible, limited
from compressor.passes.recover.plan import Seen, make_plan
from compressor.passes.recover.stream import batch_inputs, rows
from compressor.passes.recover.terms import build_term

__all__ = ["Judge", "parted"]

APART = 4  # one sample in so many judges what the others are fitted to


def parted(program: Program, batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Batches to fit to, and others to judge by; the same where there is a single sample that cannot be cut.

    A batch of a fixed size is one sample, as `limited` has it.
    """
    inputs = batch_inputs(program) if is_divisible(program) else frozenset[str]()
    count = sum(rows(batch, inputs) for batch in batches)
    seen = limited(program, batches, count - count // APART)
    skipped = sum(rows(batch, inputs) for batch in seen)
    apart: list[Batch] = []
    for batch in batches:
        size = rows(batch, inputs)
        if skipped < size:
            apart.append({n: v[skipped:] if n in inputs else v for n, v in batch.items()} if skipped else batch)
        skipped = max(0, skipped - size)
    return seen, apart or seen


class Judge:
    """Holds what the original says of the batches. A candidate has its outputs, but for some of a cache."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self.batches = [dict(zip((s.name for s in program.inputs), program.flatten(b), strict=True)) for b in batches]
        self.plan = make_plan(program, program, self.batches[0])
        self.term = build_term("output", self.plan, lambda: [Seen((), ())])
        self.places = [index for index, spec in enumerate(program.outputs) if spec in answers(program.outputs)]
        self.names = [spec.name for spec in program.outputs]
        self.theirs = [self._outputs(program, batch) for batch in self.batches]
        self.sizes = [rows(batch, batch_inputs(program)) for batch in self.batches]

    def damage(self, program: Program) -> float:
        """0 where nothing changed."""
        total = 0.0
        for batch, theirs, size in zip(self.batches, self.theirs, self.sizes, strict=True):
            mask = None if self.plan.mask is None else batch[self.plan.mask] != 0
            with torch.no_grad():
                loss: Tensor = self.term(Seen(self._outputs(program, batch), theirs, mask=mask)).mean()
            total += size * float(loss)
        return total / sum(self.sizes)

    def _outputs(self, program: Program, batch: Batch) -> tuple[Tensor, ...]:
        """In the original's order; a cache is nothing that is compared."""
        found = program.run(batch)
        return tuple(found[name] if index in self.places else torch.empty(0) for index, name in enumerate(self.names))
