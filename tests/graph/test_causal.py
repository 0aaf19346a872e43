"""A causal language model is told from one that sees the token it scores, and from what has its shapes by chance."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyGpt
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.causal import predicted


class Masked(nn.Module):
    """Every place sees every other; a mask comes first."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.words, self.head, self.causal = nn.Embedding(64, 8), nn.Linear(8, 64), causal

    def forward(self, mask: Tensor, ids: Tensor) -> Tensor:
        x = self.words(ids) * mask[..., None]
        y: Tensor = self.head(functional.scaled_dot_product_attention(x, x, x, is_causal=self.causal))
        return y


@pytest.mark.parametrize(("causal", "expected"), [(True, "ids"), (False, None)])
def test_changing_the_last_token_tells(causal: bool, expected: str | None) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 64, (2, 9))
    program = capture(Masked(causal), (torch.ones(2, 9, dtype=torch.int64), ids)).program
    assert predicted(program, {"mask": torch.ones(2, 9, dtype=torch.int64), "ids": ids}) == expected


def test_a_gpt_is_one_and_a_classifier_is_not() -> None:
    ids = torch.randint(0, 128, (2, 8), generator=torch.Generator().manual_seed(0))
    program = capture(TinyGpt(), (ids,)).program
    assert predicted(program, {program.inputs[0].name: ids}) == program.inputs[0].name
    linear = capture(nn.Linear(6, 40), (torch.randn(2, 3, 6),)).program
    assert predicted(linear, {"input": torch.randn(2, 3, 6)}) is None
