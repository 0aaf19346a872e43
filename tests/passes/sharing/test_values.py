"""Weights for a group: mean, the least squares of what all read, and the best of what was tried."""

from __future__ import annotations

import pytest
import torch
from sharing_nets import copied, deep_gpt
from tiny import text_batches

from compressor.graph.contract import Progress
from compressor.passes.recover.judge import Judge
from compressor.passes.sharing.together import with_values
from compressor.passes.sharing.units import Unit, find_units
from compressor.passes.sharing.values import Grams, choose_values, given

PROGRAM = copied(deep_gpt())
BATCHES = text_batches(2, 8)


@pytest.fixture(scope="module")
def units() -> list[Unit]:
    return find_units(PROGRAM, "block", "own", ())[0][0][:2]


@pytest.fixture(scope="module")
def grams() -> Grams:
    return Grams(PROGRAM, BATCHES, Progress())


def test_a_block_lends_its_own_and_the_mean_is_the_mean(units: list[Unit], grams: Grams) -> None:
    own = given(PROGRAM, units, "blocks.1", grams)
    assert (own.of.name, dict(own.values)) == ("blocks.1", {})
    mean = given(PROGRAM, units, "mean", grams)
    expected = (PROGRAM.get("blocks.0.q.weight") + PROGRAM.get("blocks.1.q.weight")) / 2
    assert torch.allclose(mean.values["blocks.0.q.weight"], expected, atol=1e-7)


def test_merged_is_the_least_squares_of_all_outputs(units: list[Unit], grams: Grams) -> None:
    names = ("blocks.0.q.weight", "blocks.1.q.weight")
    merged = given(PROGRAM, units, "merged", grams).values[names[0]].double()

    def error(weight: torch.Tensor) -> float:
        total = 0.0
        for name in names:
            _, gram = grams.of(name) or pytest.fail("a linear layer has inputs")
            apart = (weight - PROGRAM.get(name).detach()).double()
            total += float((apart @ gram[0].double() @ apart.T).trace())
        return total

    mean = (PROGRAM.get(names[0]) + PROGRAM.get(names[1])).detach() / 2
    assert error(merged) < error(mean)
    for _ in range(3):
        assert error(merged) < error(merged + 0.01 * torch.randn_like(merged))


def test_fitted_is_the_best_of_all(units: list[Unit], grams: Grams) -> None:
    judge = Judge(PROGRAM, BATCHES)
    best = choose_values(PROGRAM, units, "fitted", judge, grams)
    tried = [given(PROGRAM, units, source, grams) for source in ("blocks.0", "blocks.1", "mean", "merged")]
    damages = [judge.damage(with_values(PROGRAM, units, one.of, one.values)) for one in tried]
    assert best.damage == pytest.approx(min(damages))
    assert best.source == tried[damages.index(min(damages))].source


def test_without_data_the_middle_block_lends_its_own(units: list[Unit]) -> None:
    nothing = Grams(PROGRAM, [], Progress())
    assert choose_values(PROGRAM, units, "auto", None, nothing).source == "blocks.0"
    merged, mean = (given(PROGRAM, units, source, nothing).values for source in ("merged", "mean"))
    assert all(torch.equal(merged[name], mean[name]) for name in mean)
