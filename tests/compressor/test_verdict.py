"""The line on top: what was kept, and what was asked for and not done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passlist import ChosenBy, PassSpec
from compressor.pipeline import Stage
from compressor.report.model import Cost, PassReport, SkippedSite, Verdict
from compressor.selecting import Selection
from compressor.verdict import verdict


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(nn.Linear(2, 2), (torch.zeros(1, 2),)).program


def stage(program: Program, name: str, chosen_by: ChosenBy = "user", **report: Any) -> Stage:
    cost = Cost(None, 1)
    return Stage(program, PassReport(name, cost, cost, **report), PassSpec(name, chosen_by=chosen_by))


def said(*stages: Stage, missed: tuple[str, ...] = (), **selection: Any) -> Verdict:
    return verdict(Selection(None, stages, **selection), missed)  # type: ignore[arg-type]


def test_a_named_pass_that_did_nothing_says_why_and_the_heaviest_reason_first(program: Program) -> None:
    skipped = (
        SkippedSite("a", "too small", bytes=10), SkippedSite("b", "too small", bytes=10),
        SkippedSite("c", "no kernel", bytes=500), SkippedSite("d", "no kernel", bytes=900),
    )  # fmt: skip
    idle = stage(program, "factorize", skipped=skipped, warning="changed nothing")
    assert said(idle) == Verdict("unchanged", "factorize did nothing: no kernel (d and 1 more)")
    worked = stage(program, "quantize", changed=("c",))
    assert said(idle, worked) == Verdict("compressed", "factorize did nothing: no kernel (d and 1 more)")


def test_one_that_was_eased_to_nothing_says_what_fell_first(program: Program) -> None:
    none = SkippedSite("unit=block", "0.125 of 2 blocks is none", whole=True)
    eased = stage(program, "drop", skipped=(none,), warning="accuracy fell; amount=0.125 was tried next")
    text = "drop did nothing: accuracy fell; amount=0.125 was tried next: 0.125 of 2 blocks is none"
    assert said(eased) == Verdict("unchanged", text)


def test_what_nobody_named_and_what_takes_nothing_away_is_not_missed(program: Program) -> None:
    fold, int8 = stage(program, "fold"), stage(program, "quantize", changed=("c",))
    assert said(stage(program, "fold", "default")) == Verdict("unchanged")
    assert said(fold, int8) == Verdict("compressed")
    assert said(fold) == Verdict("unchanged", "fold did nothing: it found nothing to do")


def test_a_missed_budget_with_nothing_changed_is_no_compression(program: Program) -> None:
    idle = stage(program, "fold")
    text = "closest result; size budget 0.5x missed; fold did nothing: it found nothing to do"
    assert said(idle, missed=("size budget 0.5x missed",)) == Verdict("unchanged", text)
    int8 = stage(program, "quantize", changed=("c",))
    assert said(int8, missed=("size missed",)) == Verdict("compressed", "closest result; size missed")


def test_a_metric_that_fell_too_far_names_what_stands(program: Program) -> None:
    fold = stage(program, "fold", changed=("a",))
    gone = stage(program, "quantize", changed=("a",), reverted="accuracy fell")
    found = said(fold, gone, rejected=program, reason="quantize: accuracy fell")
    assert found == Verdict("best-kept", "quantize: accuracy fell; kept: fold")
    found = said(gone, rejected=program, reason="accuracy fell")
    assert found == Verdict("original-kept", "accuracy fell; kept: the original as it was")


def test_a_named_pass_that_the_gate_took_back_is_said(program: Program) -> None:
    gone = stage(program, "quantize", changed=("a",), reverted="size got worse by 5%")
    assert said(gone) == Verdict("unchanged", "quantize was taken back: size got worse by 5%")
