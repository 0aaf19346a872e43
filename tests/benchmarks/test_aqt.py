"""The check of mostly-4-bit networks: its goals speak of arms, and cost counts bits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from compressor.graph.capture import capture

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import aqt


def test_goals_speak_of_arms_that_there_are() -> None:
    claim = aqt.claims(1.0, 5)
    names = [name for goal in claim.goals for name in (goal.better, goal.than) if not name[0].isdigit()]
    assert {name.split(".")[0] for name in names} == set(claim.arms)


def test_cost_is_bytes_times_work_in_bits() -> None:
    program = capture(torch.nn.Conv2d(2, 3, 1, bias=False).eval(), (torch.randn(2, 2, 5, 5),)).program
    full = aqt.cost(program, size=1_000_000)
    assert full == pytest.approx(2 * 3 * 25 / 1e6)
    [name] = [name.removesuffix(".weight") for name in program.tensors()]
    small = aqt.cost(program, {name: {"format": "int4", "block": 32, "activation": "int8"}}, 1_000_000)
    assert small == pytest.approx(full / 32)
