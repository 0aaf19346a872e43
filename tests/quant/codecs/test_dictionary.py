"""Words of runs: every row comes back, and their number is what the dictionary promised."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.codecs.dictionary import STEPS, Words, decode_rows, dictionary_of, encode_rows, zeros_in


def codes(shape: tuple[int, int], zero: float, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, shape, generator=random) * 2 - 1
    return (signs * (torch.rand(shape, generator=random) >= zero)).to(torch.int8)


@given(st.tuples(st.integers(1, 5), st.integers(1, 90)), st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_rows_come_back_with_any_dictionary(shape: tuple[int, int], zero: float, seed: int) -> None:
    given_ = codes(shape, zero, seed)
    for share in (None, 20, 57):
        assert torch.equal(decode_rows(encode_rows(given_, share)), given_)


@pytest.mark.parametrize(("zero", "most"), [(0.885, 0.76), (0.31, 1.62)])
def test_words_cost_what_is_expected_and_little_more_than_the_entropy(zero: float, most: float) -> None:
    given_ = codes((64, 4096), zero)
    bits = 16 * len(encode_rows(given_).words) / given_.numel()
    entropy = -zero * math.log2(zero) - (1 - zero) * math.log2((1 - zero) / 2)
    assert entropy < bits < most
    assert bits == pytest.approx(dictionary_of(zeros_in(given_)).bits, rel=0.03)


def test_a_dictionary_for_zeros_is_wasted_on_others() -> None:
    given_ = codes((16, 2048), 0.31)
    assert 16 * len(encode_rows(given_, 57).words) / given_.numel() > 2.5


def test_a_dictionary_is_a_whole_tree_of_at_most_65536_words() -> None:
    known = dictionary_of(57)
    words = -1 - known.next[known.next < 0]
    assert sorted(words.tolist()) == list(range(len(known.lengths)))
    assert len(known.lengths) <= 2**16
    assert int(known.lengths.max()) <= 14


def test_what_is_damaged_is_refused() -> None:
    found = encode_rows(codes((2, 64), 0.5))
    with pytest.raises(InputError, match="does not have"):
        decode_rows(Words(found.words + 70000, found.offsets, found.width, found.zeros))
    with pytest.raises(InputError, match="less than a row"):
        decode_rows(Words(found.words[:2], torch.tensor([0, 1, 2]), found.width, found.zeros))
    with pytest.raises(InputError, match="no share"):
        dictionary_of(STEPS)
    with pytest.raises(InputError, match="a matrix of"):
        encode_rows(torch.tensor([[2]]))
