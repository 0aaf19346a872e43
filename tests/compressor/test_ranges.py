"""Index bounds are read off what the model looks up, not off names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compressor.ranges import index_bounds


def bounds(model: nn.Module, *inputs: Tensor) -> list[int | None]:
    return index_bounds(lambda: model(*inputs), inputs)


def ids(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


class Tokens(nn.Module):
    """Token ids reshaped and cast, positions counted from a mask, and a table looked up by advanced indexing."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.places = nn.Embedding(100, 4), nn.Embedding(2, 4), nn.Embedding(30, 4)
        self.table = nn.Parameter(torch.randn(7, 4))

    def forward(self, tokens: Tensor, kinds: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        places = (mask.cumsum(1) - 1).clamp(min=0)
        words = self.words(tokens.to(torch.int32).view(-1)).view(*tokens.shape, 4)
        return (words + self.kinds(kinds) + self.places(places)) * mask[..., None] + self.table[rows]


def test_layout_and_casts_carry_the_index_and_counting_does_not() -> None:
    assert bounds(Tokens(), ids(2, 5), ids(2, 5), ids(2, 5) + 1, ids(2, 5)) == [100, 2, None, 7]


def test_the_smallest_table_bounds_an_input_that_indexes_two() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Embedding(50, 3), nn.Embedding(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.large(x) + self.small(x)

    assert bounds(Two(), ids(2, 3)) == [20]


def test_gather_take_and_bags() -> None:
    class Gather(nn.Module):
        def forward(self, x: Tensor, index: Tensor, flat: Tensor) -> Any:
            return x.gather(1, index), x.index_select(1, flat), x.take(flat)

    assert bounds(Gather(), torch.randn(4, 6), ids(4, 2), ids(3)) == [None, 6, 6]
    assert bounds(nn.EmbeddingBag(11, 3), ids(6), ids(2)) == [11, 1]


def test_floats_and_masks_have_no_bound() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x[mask.bool()]

    assert bounds(Masked(), torch.randn(3, 4), ids(3, 4)) == [None, None]


def test_a_model_that_fails_keeps_what_was_seen() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.words(x) @ torch.zeros(5, 5)

    assert bounds(Fails(), ids(2, 2)) == [9]
