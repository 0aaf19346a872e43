"""The checks of elastic networks: their goals speak of arms and figures that there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from recovery import vit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from claims import elastic as checks  # found through the line above
from claims.llama_nas import choice_of, llama_nas, space
from claims.tuned_gpt import mix_of
from elastic import NAMES

from compressor.passes.nesting.choice import Choice

EVERY = (*checks.elastic_claims(4, 64, 1), llama_nas(4))


@pytest.mark.parametrize("claim", EVERY, ids=lambda claim: claim.name)
def test_goals_speak_of_arms_that_there_are(claim: checks.Claim) -> None:
    names = {name.split(".")[0] for goal in claim.goals for name in (goal.better, goal.than)}
    assert names == set(claim.arms)


def test_every_check_can_be_asked_for_and_is_known_by_its_size() -> None:
    other = [claim.name for claim in (*checks.elastic_claims(5, 65, 1), llama_nas(5))]
    one = [claim.name for claim in EVERY]
    assert [name.split("-")[0] for name in one] == list(NAMES)
    assert not set(one) & set(other)


def test_a_mix_has_the_first_units_of_each_dimension() -> None:
    program = vit(2)
    mixed = mix_of(program, Choice({"1.0.ffn.1": 0.25, "1.1.ffn.1": 0.5}))
    assert torch.equal(mixed.get("1.0.ffn.1.weight"), program.get("1.0.ffn.1.weight")[:6])
    assert torch.equal(mixed.get("1.1.ffn.3.weight"), program.get("1.1.ffn.3.weight")[:, :12])


def test_picks_say_what_is_kept() -> None:
    choice = choice_of((0, 2, 1, 0), ["a", "b"], ["x", "y"])
    assert choice == Choice({"b": 0.25}, frozenset({"x"}))


def test_first_guesses_fall_with_what_is_left_out() -> None:
    problem = space(2, 2, 5.0, 10.0)
    whole, less, least = (problem.costs(picks) for picks in ((0, 0, 0, 0), (1, 0, 0, 0), (2, 2, 1, 1)))
    assert whole["latency"] == pytest.approx(10.0)
    assert whole["latency"] > less["latency"] > least["latency"]
    assert whole["damage"] < less["damage"] < least["damage"]
