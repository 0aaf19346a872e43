from __future__ import annotations

import torch

from compressor.passes.sparsifying.scores import ranking

WEIGHT = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
SQUARES = torch.tensor([4.0, 25.0])


def test_the_formulas() -> None:
    assert torch.equal(ranking("magnitude", WEIGHT, SQUARES, "a", 0).of(WEIGHT), WEIGHT.abs())
    wanda = ranking("wanda", WEIGHT, SQUARES, "a", 0)
    assert torch.equal(wanda.of(WEIGHT), torch.tensor([[2.0, 10.0], [6.0, 2.5]]))
    assert torch.equal(wanda.of(WEIGHT[:, 1:], slice(1, 2)), torch.tensor([[10.0], [2.5]]))


def test_noise_hangs_on_name_and_seed_alone() -> None:
    first = ranking("random", WEIGHT, None, "a", 0).of(WEIGHT)
    assert torch.equal(first, ranking("random", WEIGHT + 1, SQUARES, "a", 0).of(WEIGHT + 1))
    assert not torch.equal(first, ranking("random", WEIGHT, None, "a", 1).of(WEIGHT))
    assert not torch.equal(first, ranking("random", WEIGHT, None, "b", 0).of(WEIGHT))
