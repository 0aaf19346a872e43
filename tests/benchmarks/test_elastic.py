"""The checks of elastic networks: their goals speak of arms and figures that there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from recovery import vit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from claims import elastic as checks  # found through the line above
from elastic import NAMES


@pytest.mark.parametrize("claim", checks.elastic_claims(4, 64, 1), ids=lambda claim: claim.name)
def test_goals_speak_of_arms_that_there_are(claim: checks.Claim) -> None:
    names = {name.split(".")[0] for goal in claim.goals for name in (goal.better, goal.than)}
    assert names == set(claim.arms)


def test_every_check_can_be_asked_for_and_is_known_by_its_size() -> None:
    one, other = ([claim.name for claim in checks.elastic_claims(*size)] for size in ((4, 64, 1), (5, 65, 1)))
    assert [name.split("-")[0] for name in one] == list(NAMES)
    assert not set(one) & set(other)


def test_a_mix_has_the_first_units_of_each_dimension() -> None:
    program = vit(2)
    mixed = checks._mixed(program, {"1.0.ffn.1": 0.25, "1.1.ffn.1": 0.5})
    assert torch.equal(mixed.get("1.0.ffn.1.weight"), program.get("1.0.ffn.1.weight")[:6])
    assert torch.equal(mixed.get("1.1.ffn.3.weight"), program.get("1.1.ffn.3.weight")[:, :12])
