from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.passes.sparsifying.pattern import parse_pattern


def test_the_best_of_each_group_stay() -> None:
    scores = torch.tensor([[1.0, 4.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0]])
    assert parse_pattern("2of4", "test").mask(scores).tolist() == [[False, True, True, False, True, True, False, False]]
    assert parse_pattern("0.25", "test").mask(scores).tolist() == [[False, True, True, False, True, True, True, True]]


@given(kept=st.integers(1, 7), more=st.integers(1, 8), rows=st.integers(1, 3), groups=st.integers(1, 4))
def test_any_n_of_m(kept: int, more: int, rows: int, groups: int) -> None:
    size = kept + more
    mask = parse_pattern(f"{kept}of{size}", "test").mask(torch.rand(2, rows, groups * size))
    assert (mask.reshape(-1, size).sum(1) == kept).all()


@given(share=st.floats(0.01, 0.99), inputs=st.integers(8, 40))
def test_any_share(share: float, inputs: int) -> None:
    mask = parse_pattern(str(share), "test").mask(torch.rand(3, inputs))
    assert ((~mask).sum(1) == round(share * inputs)).all()


@pytest.mark.parametrize("text", ["", "2:4", "0of4", "4of4", "4of2", "2of64", "0", "1", "-0.5", "nan", "half"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(RecipeError, match=r"(?s)here.*2of4"):
        parse_pattern(text, "here")
