"""A child in training: a smaller graph over rows of the student's tensors, so that its gradients add up in theirs.

    y = child(x; θ[rows])      ∂L/∂θ = Σ over the student and its children of what each row's users say

Its batch norms use the batch's own statistics, also when it is judged: what they store is estimated once, at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from compressor.graph.contract import Batch
from compressor.graph.edit import begin
from compressor.graph.entries import Entry, of_rows
from compressor.graph.kv_cache import is_past, with_past
from compressor.graph.mode import batch_norms, set_mode
from compressor.passes.recover.device import redirect
from compressor.passes.recover.trainee import Trainee, store

__all__ = ["Child"]


class Child:
    """One child of a student on its device. Nothing of the entry's program is written into."""

    def __init__(self, entry: Entry, student: Trainee) -> None:
        self.entry, self.student = entry, student
        self.normalizes = bool(batch_norms(entry.program))
        working = begin(entry.program)
        for name, value in entry.program.tensors().items():
            if name not in entry.rows:  # running statistics, which are written and never read
                store(working.module, name, value.detach().clone().to(student.place.device))
        self.module = set_mode(working, batch_norm=True, blending=True).module
        redirect(self.module.graph, student.place.device)
        self.module.recompile()

    def run(self, batch: Batch) -> tuple[Tensor, ...]:
        """Its outputs in the student's order; empty where it has none of a name (the cache of a dropped block)."""
        specs = self.entry.program.inputs
        given = {spec.name: batch[spec.name] for spec in specs if spec.name in batch or not is_past(spec)}
        filled, device = with_past(specs, given), self.student.place.device
        tensors = {name: of_rows(self.student.shared[name], rows) for name, rows in self.entry.rows.items()}
        flat = tuple(filled[spec.name].to(device, non_blocking=True) for spec in specs)
        found = functional_call(self.module, tensors, flat, tie_weights=False)
        results = dict(zip((spec.name for spec in self.entry.program.outputs), found, strict=True))
        return tuple(results.get(spec.name, torch.empty(0)) for spec in self.student.program.outputs)
