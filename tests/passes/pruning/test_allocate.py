"""Allocations reach their target, by the same share or by the least damage for what is saved."""

from __future__ import annotations

import pytest
from recovery import digits_program

from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.dimensions.removal import Removal
from compressor.passes.pruning.allocate import greedy, uniform
from compressor.passes.pruning.widths import Ladder, ladder


@pytest.fixture(scope="module")
def dimensions() -> Dimensions:
    return analyse(digits_program())


def ladders(dimensions: Dimensions, scores: dict[int, float]) -> list[Ladder]:
    return [ladder(d, scores, 4, 0.1) for d in dimensions.dimensions]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_uniform_reaches_its_target_and_no_further_than_a_rung(dimensions: Dimensions, share: float) -> None:
    target = Removal(dimensions, ()).macs() * (1 - share)
    found = uniform(dimensions, ladders(dimensions, {}), target)
    assert found.removal().macs() <= target
    for place, rung in enumerate(found.rungs):
        assert rung == 0 or found.at(place, rung - 1).removal().macs() > target


def test_uniform_cuts_like_shares(dimensions: Dimensions) -> None:
    found = uniform(dimensions, ladders(dimensions, {}), Removal(dimensions, ()).macs() * 0.5)
    pairs = zip(found.ladders, found.rungs, strict=True)
    shares = [one.rungs[rung] / len(one.order) for one, rung in pairs]
    assert max(shares) - min(shares) < 0.2


def test_greedy_spares_what_scores_high(dimensions: Dimensions) -> None:
    first, *others = dimensions.dimensions
    scores = dict.fromkeys(first.units, 1000000.0) | {unit: 1.0 for d in others for unit in d.units}
    whole = Removal(dimensions, ()).macs()
    found = greedy(dimensions, ladders(dimensions, scores), whole * 0.6, scores, lambda removal: float(removal.macs()))
    assert found.removal().macs() <= whole * 0.6
    assert found.rungs[0] == 0


def test_greedy_never_cuts_what_saves_nothing(dimensions: Dimensions) -> None:
    """A cost that does not fall with the first dimension leaves it alone, though it is the least damaging."""
    first, *_ = dimensions.dimensions
    scores = {unit: 1.0 for d in dimensions.dimensions for unit in d.units} | dict.fromkeys(first.units, 1e-06)
    places = ladders(dimensions, scores)

    def cost(removal: Removal) -> float:
        return float(Removal(dimensions, removal.units - set(first.units)).macs())

    found = greedy(dimensions, places, Removal(dimensions, ()).macs() * 0.6, scores, cost)
    assert found.rungs[0] == 0
    assert any(found.rungs)
