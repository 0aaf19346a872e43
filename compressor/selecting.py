"""Which of the programs that the passes produced is kept.

From the last stage backwards, a stage is taken back when, where artifacts are timed (`timing.py`), it runs slower than
the one before it, or not at all (what the defaults chose, or `--gate`), when what the defaults chose, or a second try
with less damage, cannot be lowered or its artifact disagrees with PyTorch, or when the metric fell beyond `--max-drop`
and the pass cannot do less damage. The first that stands is kept: the best so far, down to the original. What came
after the stage that was to blame for the metric was judged with its damage, so it is tried once more without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from compressor.devices.side_by_side import SideBySide
from compressor.errors import CompressError
from compressor.gate import Gate
from compressor.graph.cost import SLACK
from compressor.graph.program import Program
from compressor.pipeline import Stage, is_transparent, prepares, take_back

__all__ = ["Judge", "Selection", "select"]

C = TypeVar("C")
_BEFORE = " (with what came before it at more damage than now)"

ATTEMPTS = 3  # sessions differ by several percent in where their memory falls: slower is what is so in each of them


class Judge(Protocol[C]):
    """What selecting asks about candidates; answers are measured, so each is asked for only when it matters."""

    def build(self, program: Program) -> C:
        """Lower a program; the same one only once."""

    def drop(self, candidate: C) -> str | None:
        """Why the metric fell too far, or None."""

    def ease(self, before: Program, stage: Stage, reason: str) -> Stage | None:
        """The stage once more with less damage, or None."""

    def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
        """The passes of these stages on another program, one after the other."""

    def times(self, before: Program, after: C, attempt: int) -> SideBySide | None:
        """Both measured side by side, loaded anew in each attempt; None where nothing tells times. Raises CompressError
        where it does not run there."""


@dataclass(frozen=True)
class Selection(Generic[C]):
    """What is kept, the stages with what was taken back, and what fell beyond `--max-drop` (saved beside it).

    `reason` names the first stage after which the metric had fallen too far, and where it stood in the end. `blamed` is
    that stage's index while what came after it has not been tried without it.
    """

    kept: C
    stages: tuple[Stage, ...]
    rejected: C | None = None
    reason: str = ""
    blamed: int | None = None


def select(original: Program, stages: Sequence[Stage], judge: Judge[C], gate: Gate) -> Selection[C]:
    """Walk back from the last stage to the first candidate that nothing speaks against; then, from the stage that was
    to blame, on again."""
    first = chosen = _walk(original, stages, judge, gate)
    while chosen.blamed is not None:  # each time a later one
        done = max(chosen.blamed, -1 if (last := _last_kept(chosen.stages)) is None else last) + 1
        standing, settled = _program_before(original, chosen.stages, done), chosen.stages[:done]
        try:
            tried = _walk(original, [*settled, *judge.again(standing, stages[done:])], judge, gate, done)
        except CompressError as error:  # of a second try, which costs nothing that stands
            told = f"without {settled[chosen.blamed].spec}: {error}"
            tried = replace(chosen, stages=(*settled, *(_also(s, told) for s in chosen.stages[done:])), blamed=None)
        chosen = replace(tried, rejected=first.rejected, reason=first.reason)
    return chosen


def _also(stage: Stage, reason: str) -> Stage:
    return stage if stage.kept else take_back(stage, f"{stage.report.reverted}; {reason}")


def _walk(
    original: Program, stages: Sequence[Stage], judge: Judge[C], gate: Gate, settled: int = 0
) -> Selection[C]:  # fmt: skip
    """`blamed` is the first stage that cost the metric too much, and was eased or taken back, where another after it
    had been taken back for that; None where there is none after those that are `settled`."""
    stages = list(stages)
    rejected: C | None = None
    harsher: C | None = None  # what a stage with less damage takes the place of
    falls: list[str] = []  # from the last stage on backwards
    fell: list[int] = []
    eased: int | None = None
    told = ""
    while (last := _last_kept(stages)) is not None:
        before = _program_before(original, stages, last)
        try:
            candidate = judge.build(stages[last].program)
        except CompressError as error:
            if stages[last].eased:
                rejected = rejected or harsher
                falls.append(told)
                fell.append(last)
            elif not stages[last].spec.is_ours:
                raise
            stages[last] = take_back(stages[last], str(error))
            continue
        objection = _slower(judge, before, candidate, stages[last], gate)
        if objection is None and (fall := judge.drop(candidate)) is not None:
            first = _prepared_by(stages, last)
            milder = judge.ease(_program_before(original, stages, first), stages[first], fall)
            if milder is not None:
                harsher, told = candidate, f"{stages[first].spec}: {fall}"
                if not milder.report.changed:  # less of it is nothing
                    rejected = rejected or harsher
                    falls.append(told)
                    fell.append(first)
                stages[first] = milder
                eased = first
                _redo(judge, stages, first)
                continue
            objection, rejected = fall, rejected or candidate
            fell.append(last)
            falls.append(f"{stages[last].spec}: {fall}")
        if objection is None:
            return Selection(candidate, tuple(stages), rejected, _reason(falls), _blamed(fell, eased, settled))
        stages[last] = take_back(stages[last], objection)
        for index in range(_prepared_by(stages, last), last):
            if stages[index].kept and stages[index].report.changed:
                stages[index] = take_back(stages[index], f"it prepares for {stages[last].spec.name}: {objection}")
    return Selection(judge.build(original), tuple(stages), rejected, _reason(falls), _blamed(fell, eased, settled))


def _blamed(fell: Sequence[int], eased: int | None, settled: int) -> int | None:
    first = min([*fell, *([] if eased is None else [eased])], default=None)
    return first if first is not None and first >= settled and max(fell, default=first) > first else None


def _prepared_by(stages: Sequence[Stage], last: int) -> int:
    """The first of the stages that pay only with this one; itself where none does."""
    first = last
    for index in reversed(range(last)):
        if not (stages[index].kept and stages[index].report.changed):
            continue
        if not is_transparent(stages[index].spec):
            break
        first = index if prepares(stages[index]) else first
    return first


def _redo(judge: Judge[C], stages: list[Stage], first: int) -> None:
    """Run what came after a stage again, on what it is now: what found nothing to do may find something, and what is
    reported are its figures. What was taken back stays so, and says that it was tried on what is no more."""
    standing = [index for index in range(first + 1, len(stages)) if stages[index].kept]
    for index in set(range(first + 1, len(stages))) - set(standing):
        reason = (stages[index].report.reverted or "").removesuffix(_BEFORE)
        stages[index] = take_back(stages[index], f"{reason}{_BEFORE}")
    for index, stage in zip(standing, judge.again(stages[first].program, [stages[i] for i in standing]), strict=True):
        stages[index] = stage


def _reason(falls: Sequence[str]) -> str:
    """Where the metric fell, and where it ended if other stages came after."""
    return "; after the last pass, ".join(dict.fromkeys((falls[-1], falls[0]))) if falls else ""


def _slower(judge: Judge[C], before: Program, candidate: C, stage: Stage, gate: Gate) -> str | None:
    """A measured objection to a stage that the gate may take back."""
    if "latency" not in gate.axes or not (stage.spec.chosen_by == "default" or gate.strict):
        return None
    objection = None
    for attempt in range(ATTEMPTS):
        try:
            times = judge.times(before, candidate, attempt)
        except CompressError as error:  # it does not run where it is timed
            return str(error)
        if times is None or times.low <= SLACK:  # not slower beyond the noise of the measurement
            return None
        objection = objection or (
            f"{times.how} latency got worse by {100 * (times.ratio - 1):.1f}% "
            f"(95%: at least {100 * (times.low - 1):.1f}%): {times.before:.4g} to {times.after:.4g} ms"
        )
    return objection


def _last_kept(stages: Sequence[Stage]) -> int | None:
    """The last stage that still stands and changed something."""
    standing = (i for i in reversed(range(len(stages))) if stages[i].kept and stages[i].report.changed)
    return next(standing, None)


def _program_before(original: Program, stages: Sequence[Stage], index: int) -> Program:
    return next((s.program for s in reversed(stages[:index]) if s.kept and s.report.changed), original)
