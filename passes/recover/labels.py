"""Labels are looked at before they are trained on: an index that no class has would end the run in the middle."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import InputError
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.recover.losses.scores import IGNORED
from compressor.passes.recover.objective import Part
from compressor.passes.recover.plan import LABELS, make_plan

__all__ = ["check_labels"]

USES = ("ce", "task", "branches")
WHERE = "train/labels"


def check_labels(student: Program, teacher: Program, parts: Sequence[Part], batches: Sequence[Batch]) -> None:
    """Raises InputError for labels that are no classes of the output that learns them, or that are all left out."""
    given = [batch[LABELS] for batch in batches if LABELS in batch]
    if not given or not any(part.name in USES for part in parts):
        return
    outputs = make_plan(student, teacher, batches[0]).outputs
    scored = next((output for output in outputs if output.kind != "values"), None)
    if scored is None:
        return
    known = 0
    for labels in given:
        if labels.is_floating_point():
            raise InputError(
                f"labels are {labels.dtype}, not whole numbers", where=WHERE, way_out="Classes: 0, 1, 2, …"
            )
        used = labels[labels != IGNORED]
        known += used.numel()
        wrong = used[(used < 0) | (used >= scored.classes)]
        if wrong.numel():
            raise InputError(
                f"a label is {int(wrong.flatten()[0])}; output {scored.name!r} has {scored.classes} classes",
                where=WHERE, way_out=f"Classes are 0 to {scored.classes - 1}; {IGNORED} is left out.",
            )  # fmt: skip
    if not known:
        raise InputError(f"all labels are {IGNORED}: there is nothing to learn", where=WHERE)
