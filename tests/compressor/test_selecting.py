"""The best that stands is kept: stages go from the last to the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from compressor.devices.side_by_side import SideBySide
from compressor.errors import MismatchError, PassError, UnsupportedError
from compressor.gate import Gate
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.pipeline import Stage
from compressor.report.model import Cost, PassReport
from compressor.selecting import select


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(nn.Linear(2, 2), (torch.zeros(1, 2),)).program


@dataclass
class Judged:
    """A judge with its answers written down, by the order in which programs appear."""

    order: list[Program]
    milliseconds: list[float] | None
    falls: dict[int, str] = field(default_factory=dict)
    broken: tuple[int, ...] = ()
    noise: float = 1.0
    lucky: tuple[int, ...] = ()
    easier: dict[int, Stage] = field(default_factory=dict)
    remade: dict[str, Program] = field(default_factory=dict)

    def build(self, program: Program) -> int:
        number = self._number(program)
        if number in self.broken:
            raise MismatchError("disagrees with PyTorch")
        return number

    def _number(self, program: Program) -> int:
        return next(i for i, known in enumerate(self.order) if known is program)

    def drop(self, candidate: int) -> str | None:
        return self.falls.get(candidate)

    def ease(self, before: Program, stage: Stage, reason: str) -> Stage | None:
        return self.easier.get(self._number(stage.program))

    def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
        return [replace(stage, program=self.remade[stage.spec.name]) for stage in stages]

    def times(self, before: Program, after: int, attempt: int) -> SideBySide | None:
        if self.milliseconds is None:
            return None
        old, new = self.milliseconds[self._number(before)], self.milliseconds[after]
        if attempt in self.lucky:
            return SideBySide(old, old, 1.0, 1.0, 1.0)
        return SideBySide(old, new, new / old / self.noise, new / old, new / old * self.noise)


def _stages(program: Program, *chosen_by: str) -> tuple[list[Program], list[Stage]]:
    programs = [program, *(program.copy() for _ in chosen_by)]
    cost = Cost(None, 1)
    stages = [
        Stage(made, PassReport("fold", cost, cost, changed=("a",)), PassSpec("fold", chosen_by=by))  # type: ignore[arg-type]
        for made, by in zip(programs[1:], chosen_by, strict=True)
    ]
    return programs, stages


def test_the_last_is_kept_when_nothing_speaks_against_it(program: Program) -> None:
    programs, stages = _stages(program, "default", "default")
    chosen = select(program, stages, Judged(programs, [3.0, 2.0, 1.0]), Gate("latency"))
    assert (chosen.kept, chosen.rejected, [s.kept for s in chosen.stages]) == (2, None, [True, True])


def test_what_does_not_run_where_it_is_timed_is_taken_back(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, stages = _stages(program, "default", "default")
    judged = Judged(programs, [3.0, 2.0, 1.0])
    times = Judged.times

    def refused(self: Judged, before: Program, after: int, attempt: int) -> SideBySide | None:
        if after == 2:
            raise UnsupportedError("the runtime there has no kernel")
        return times(self, before, after, attempt)

    monkeypatch.setattr(Judged, "times", refused)
    chosen = select(program, stages, judged, Gate("latency"))
    assert chosen.kept == 1
    assert "the runtime there has no kernel" in (chosen.stages[1].report.reverted or "")


def test_a_prediction_in_the_place_of_a_measurement_says_so(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, stages = _stages(program, "default")
    monkeypatch.setattr(Judged, "times", lambda *_: SideBySide(1.0, 2.0, 2.0, 2.0, 2.0, "predicted"))
    chosen = select(program, stages, Judged(programs, []), Gate("latency"))
    assert "predicted latency got worse by 100.0%" in (chosen.stages[0].report.reverted or "")


def test_a_slower_default_is_taken_back(program: Program) -> None:
    programs, stages = _stages(program, "default", "default")
    chosen = select(program, stages, Judged(programs, [3.0, 2.0, 2.5]), Gate("latency"))
    assert chosen.kept == 1
    assert "measured latency got worse by 25.0%" in (chosen.stages[1].report.reverted or "")
    assert chosen.rejected is None  # a slower one is no loss of quality: exit 0


def test_slower_within_the_noise_is_kept(program: Program) -> None:
    programs, stages = _stages(program, "default", "default")
    chosen = select(program, stages, Judged(programs, [3.0, 2.0, 2.5], noise=1.3), Gate("latency"))
    assert chosen.kept == 2


def test_slower_in_one_session_only_is_kept(program: Program) -> None:
    programs, stages = _stages(program, "default", "default")
    chosen = select(program, stages, Judged(programs, [3.0, 2.0, 2.5], lucky=(2,)), Gate("latency"))
    assert chosen.kept == 2


def test_what_the_user_named_is_kept_though_slower_unless_strict(program: Program) -> None:
    programs, stages = _stages(program, "user")
    judge = Judged(programs, [1.0, 2.0])
    assert select(program, stages, judge, Gate("latency")).kept == 1
    assert select(program, stages, judge, Gate("latency", strict=True)).kept == 0


def test_size_objectives_do_not_ask_for_times(program: Program) -> None:
    programs, stages = _stages(program, "default")
    assert select(program, stages, Judged(programs, [1.0, 9.0]), Gate("size")).kept == 1


def test_a_fallen_metric_keeps_the_best_stage_before_it(program: Program) -> None:
    programs, stages = _stages(program, "user", "user")
    chosen = select(program, stages, Judged(programs, None, {2: "accuracy fell by 9%"}), Gate("latency"))
    assert (chosen.kept, chosen.rejected, chosen.reason) == (1, 2, "fold: accuracy fell by 9%")


def test_a_default_that_cannot_be_lowered_is_taken_back_and_a_named_one_fails(program: Program) -> None:
    programs, stages = _stages(program, "default", "default")
    chosen = select(program, stages, Judged(programs, None, broken=(2,)), Gate("size"))
    assert (chosen.kept, chosen.stages[1].report.reverted) == (1, "disagrees with PyTorch")
    programs, stages = _stages(program, "user")
    with pytest.raises(MismatchError):
        select(program, stages, Judged(programs, None, broken=(1,)), Gate("size"))


def test_nothing_left_keeps_the_original(program: Program) -> None:
    programs, stages = _stages(program, "user", "user")
    alone = program.copy()
    judge = Judged(
        [*programs, alone], None, {1: "fell", 2: "fell more", 3: "fell by itself too"}, remade={"fold": alone}
    )
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.rejected) == (0, 2)
    assert chosen.reason == "fold: fell; after the last pass, fold: fell more"
    assert [s.report.reverted for s in chosen.stages] == ["fell", "fell by itself too"]


def test_what_came_after_the_stage_to_blame_is_tried_once_more_without_it(program: Program) -> None:
    """fold stands, factorize costs too much, and quantize after it was only judged with its damage."""
    programs, stages = _stages(program, "user", "user", "user")
    names = ("fold", "factorize", "quantize")
    stages = [replace(s, spec=replace(s.spec, name=name)) for s, name in zip(stages, names, strict=True)]
    alone = program.copy()
    judge = Judged([*programs, alone], None, {2: "fell", 3: "fell more"}, remade={"quantize": alone})
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.rejected, chosen.blamed) == (4, 3, None)
    assert [s.report.reverted for s in chosen.stages] == [None, "fell", None]
    assert chosen.reason == "factorize: fell; after the last pass, quantize: fell more"


def test_what_was_lost_to_damage_since_eased_is_tried_once_more(program: Program) -> None:
    programs, stages = _stages(program, "user", "user")
    stages[1] = replace(stages[1], spec=replace(stages[1].spec, name="quantize"))
    mild, alone = program.copy(), program.copy()
    easier = {1: replace(stages[0], program=mild, eased={"amount": 0.25})}
    judge = Judged(
        [*programs, mild, alone], None, {1: "fell", 2: "fell more"}, easier=easier, remade={"quantize": alone}
    )
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.rejected) == (4, 2)
    assert [s.program for s in chosen.stages] == [mild, alone]


def test_what_cannot_be_lowered_without_the_stage_to_blame_costs_no_result(program: Program) -> None:
    """A pass that the user named, which ends a run where it fails at first."""
    programs, stages = _stages(program, "user", "user", "user")
    stages[2] = replace(stages[2], spec=replace(stages[2].spec, name="quantize"))
    alone = program.copy()
    falls = {2: "fell", 3: "fell more"}
    judge = Judged([*programs, alone], None, falls, broken=(4,), remade={"quantize": alone})
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.rejected) == (1, 3)
    assert "disagrees with PyTorch" in (chosen.stages[2].report.reverted or "")


def test_what_fails_without_the_stage_to_blame_costs_no_result(program: Program) -> None:
    class Failing(Judged):
        def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
            raise PassError("cannot", where="pass quantize")

    programs, stages = _stages(program, "user", "user", "user")
    judge = Failing(programs, None, {2: "fell", 3: "fell more"})
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.blamed) == (1, None)
    assert "cannot" in (chosen.stages[2].report.reverted or "")


def test_a_fallen_metric_asks_for_less_damage_first(program: Program) -> None:
    programs, stages = _stages(program, "default")
    milder = replace(stages[0], program=program.copy())
    judge = Judged([*programs, milder.program], None, {1: "fell"}, easier={1: milder})
    chosen = select(program, stages, judge, Gate("size"))
    assert (chosen.kept, chosen.rejected, chosen.stages) == (2, None, (milder,))


def test_where_less_damage_is_still_too_much_the_stage_before_is_kept(program: Program) -> None:
    programs, stages = _stages(program, "default")
    milder = replace(stages[0], program=program.copy())
    judge = Judged([*programs, milder.program], None, {1: "fell", 2: "fell less"}, easier={1: milder})
    chosen = select(program, stages, judge, Gate("size"))
    assert (chosen.kept, chosen.rejected, chosen.reason) == (0, 2, "fold: fell less")


def test_what_is_eased_to_nothing_has_failed(program: Program) -> None:
    programs, stages = _stages(program, "user")
    nothing = replace(stages[0], program=program, report=replace(stages[0].report, changed=()))
    judge = Judged(programs, None, {1: "fell"}, easier={1: nothing})
    chosen = select(program, stages, judge, Gate("size"))
    assert (chosen.kept, chosen.rejected, chosen.reason) == (0, 1, "fold: fell")


def test_where_less_damage_cannot_be_lowered_the_stage_before_is_kept(program: Program) -> None:
    programs, stages = _stages(program, "user", "user")
    milder = replace(stages[1], program=program.copy(), eased={"max_error": 0.01})
    judge = Judged([*programs, milder.program], None, {2: "fell"}, broken=(3,), easier={2: milder})
    chosen = select(program, stages, judge, Gate("size"))
    assert (chosen.kept, chosen.rejected, chosen.reason) == (1, 2, "fold: fell")
    assert chosen.stages[1].report.reverted == "disagrees with PyTorch"


def _prepared(program: Program) -> tuple[list[Program], list[Stage]]:
    """linearize, recover, fold: the first two pay only with the third."""
    programs, stages = _stages(program, "user", "user", "user")
    names = ("linearize", "recover", "fold")
    return programs, [replace(s, spec=replace(s.spec, name=name)) for s, name in zip(stages, names, strict=True)]


def test_what_prepares_goes_with_what_it_prepares_for(program: Program) -> None:
    programs, stages = _prepared(program)
    chosen = select(program, stages, Judged(programs, None, {3: "fell"}), Gate("latency"))
    assert (chosen.kept, [s.kept for s in chosen.stages]) == (0, [False, False, False])
    assert chosen.stages[0].report.reverted == "it prepares for fold: fell"


def test_where_the_metric_falls_what_prepares_is_eased_and_the_rest_runs_again(program: Program) -> None:
    programs, stages = _prepared(program)
    mild, trained, merged = (program.copy() for _ in range(3))
    easier = {1: replace(stages[0], program=mild, eased={"amount": 0.25})}
    judge = Judged(
        [*programs, mild, trained, merged], None, {3: "fell"}, easier=easier,
        remade={"recover": trained, "fold": merged},
    )  # fmt: skip
    chosen = select(program, stages, judge, Gate("latency"))
    assert (chosen.kept, chosen.rejected) == (6, None)
    assert [s.program for s in chosen.stages] == [mild, trained, merged]


def test_after_less_damage_later_stages_tell_of_what_is_there_now(program: Program) -> None:
    """One that found nothing to do runs again; one that was taken back says that its figures are of another program."""
    programs, stages = _stages(program, "user", "user", "default")
    idle = replace(stages[1], program=stages[0].program, report=replace(stages[1].report, changed=()))
    idle = replace(idle, spec=replace(idle.spec, name="linearize"))
    gone = replace(stages[2], report=replace(stages[2].report, reverted="size got worse"))
    mild, acted = program.copy(), program.copy()
    easier = {1: replace(stages[0], program=mild, eased={"amount": 0.25})}

    class Fresh(Judged):
        def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
            assert program is mild
            [made] = super().again(program, stages)
            return [replace(made, report=replace(made.report, before=Cost(None, 7), changed=("b",)))]

    judge = Fresh([*programs, mild, acted], None, {1: "fell"}, easier=easier, remade={"linearize": acted})
    chosen = select(program, [stages[0], idle, gone], judge, Gate("size"))
    assert chosen.kept == 5
    assert [stage.program for stage in chosen.stages[:2]] == [mild, acted]
    assert chosen.stages[1].report.before == Cost(None, 7)
    assert chosen.stages[2].report.reverted == "size got worse (with what came before it at more damage than now)"
