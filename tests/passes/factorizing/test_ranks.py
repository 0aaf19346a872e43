"""Ranks: half the weights is half the weights, widths are multiples, and past break-even two layers save nothing."""

from __future__ import annotations

import pytest

from compressor.passes.factorizing.ranks import RUNGS, Shape, ladder, landed, pair_rank, twin
from compressor.passes.factorizing.settings import Choice

LINEAR, KERNEL = Shape(384, 1536), Shape(64, 32, 9)


@pytest.mark.parametrize("shape", [LINEAR, KERNEL, Shape(17, 19), Shape(16, 16), Shape(100, 3, 25)])
def test_break_even_is_the_last_rank_that_saves(shape: Shape) -> None:
    most = shape.break_even
    assert shape.weights(Choice(most)) < shape.dense or most == 0
    assert shape.weights(Choice(most + 1)) >= shape.dense or most == shape.full


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_share_of_the_weights_stays(keep: float) -> None:
    for shape in (LINEAR, KERNEL):
        rank = pair_rank(shape, keep, 1)
        assert shape.weights(Choice(rank)) <= keep * shape.dense < shape.weights(Choice(rank + 1))
        assert pair_rank(shape, keep, 8) == landed(rank, 8)
    assert pair_rank(LINEAR, 0.5, 1) == 153  # ⌊0.5 · 384 · 1536 / 1920⌋


def test_widths_land_on_multiples() -> None:
    assert [landed(rank, 8) for rank in (153, 16, 15, 9, 8, 7, 3, 1, 0)] == [152, 16, 12, 8, 8, 6, 3, 1, 1]
    assert landed(13, 1) == 13


def test_a_ladder_ends_at_break_even() -> None:
    ranks = ladder(LINEAR, 16)
    assert len(ranks) == RUNGS
    assert ranks == sorted(ranks)
    assert all(rank % 16 == 0 and rank <= LINEAR.break_even for rank in ranks)
    assert ranks[-1] == 304  # break-even is 307
    assert ladder(Shape(16, 16), 8) == [3, 6, 7] or all(rank <= 7 for rank in ladder(Shape(16, 16), 8))
    assert ladder(Shape(2, 2), 8) == []


def test_tucker_has_as_many_weights_as_the_pair() -> None:
    pair = Choice(pair_rank(KERNEL, 0.5, 1), method="activation", refit=True)
    other = twin(KERNEL, pair, 1)
    assert other is not None
    assert 0.93 * KERNEL.weights(pair) < KERNEL.weights(other) <= KERNEL.weights(pair)
    assert abs(other.rank / 64 - other.inner / 32) < 0.05
    assert (other.method, other.refit) == ("activation", True)
    assert KERNEL.weights(Choice(3, 2)) == 32 * 2 + 9 * 2 * 3 + 3 * 64


def test_where_there_is_no_tucker() -> None:
    assert twin(LINEAR, Choice(10), 1) is None
    assert twin(Shape(32, 1, 25), Choice(6), 4) is None  # one channel cannot be thinner


def test_which_ranks_there_are() -> None:
    assert KERNEL.fits(Choice(64))
    assert KERNEL.fits(Choice(64, 32))
    assert not KERNEL.fits(Choice(65))
    assert not KERNEL.fits(Choice(8, 33))
    assert not KERNEL.fits(Choice(10, 1))  # the core has 9 inputs
    assert KERNEL.full == 64
    assert Shape(64, 2, 9).full == 18
