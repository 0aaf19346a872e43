"""Five digits a byte, and every code comes back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import InputError
from compressor.quant.codecs.base3 import pack_trits, unpack_trits


@given(st.lists(st.integers(0, 17), min_size=1, max_size=3).map(tuple), st.integers(0, 2**20))
@settings(max_examples=80, deadline=None)
def test_codes_come_back(shape: tuple[int, ...], seed: int) -> None:
    codes = torch.randint(-1, 2, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(seed))
    packed = pack_trits(codes)
    assert packed.dtype == torch.uint8
    assert packed.numel() == math.ceil(math.prod(shape) / 5)
    assert torch.equal(unpack_trits(packed, shape), codes)


def test_the_first_digit_is_the_lowest() -> None:
    assert pack_trits(torch.tensor([1, -1, -1, -1, -1])).tolist() == [2]
    assert pack_trits(torch.tensor([-1, 1])).tolist() == [0 + 2 * 3 + 9 + 27 + 81]


def test_what_are_no_digits_is_refused() -> None:
    with pytest.raises(InputError, match="other than"):
        pack_trits(torch.tensor([2]))
    with pytest.raises(InputError, match="do not hold 6"):
        unpack_trits(torch.tensor([1], dtype=torch.uint8), (6,))
    with pytest.raises(InputError, match="above 242"):
        unpack_trits(torch.tensor([243], dtype=torch.uint8), (5,))
