"""What a run came to, in a line: what was kept, and why; which pass that was asked for did nothing, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from compressor.judging import Artifact
from compressor.pipeline import Stage
from compressor.report.compare import why_nothing
from compressor.report.model import Verdict
from compressor.selecting import Selection

__all__ = ["verdict"]


def verdict(selection: Selection[Artifact], missed: Sequence[str]) -> Verdict:
    """Of what was selected, and the budgets that it misses."""
    changed = any(stage.kept and stage.report.changed for stage in selection.stages)
    idle = tuple(_idle(selection.stages, changed))
    if missed:
        return Verdict("compressed" if changed else "unchanged", "; ".join(["closest result", *missed, *idle]))
    if selection.rejected is not None:
        kept = " and ".join(str(s.spec) for s in selection.stages if s.kept and s.report.changed)
        return Verdict(
            "best-kept" if kept else "original-kept", f"{selection.reason}; kept: {kept or 'the original as it was'}"
        )
    return Verdict("compressed" if changed else "unchanged", "; ".join(idle))


def _idle(stages: Iterable[Stage], changed: bool) -> Iterator[str]:
    """The passes that were asked for by name and did nothing. Where something else was `changed` an exact one is not
    missed: it takes nothing away."""
    for stage in stages:
        asked = not stage.spec.is_ours and not (changed and stage.spec.build().exact)
        if asked and not stage.kept:
            yield f"{stage.spec.name} was taken back: {stage.report.reverted}"
        elif asked and not stage.report.changed:
            yield f"{stage.spec.name} did nothing: {why_nothing(stage.report)}"
