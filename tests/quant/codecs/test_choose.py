"""The histogram decides."""

from __future__ import annotations

import torch

from compressor.quant.codecs.choose import choose_codec, expected_bits
from compressor.quant.ternary import quantize_ternary


def test_min_max_rounding_takes_the_dictionary_and_absmean_base_three() -> None:
    weight = torch.randn(32, 2048, generator=torch.Generator().manual_seed(0))
    rare, even = (quantize_ternary(weight, rule).codes for rule in ("minmax", "absmean"))
    assert choose_codec(rare) == "dictionary"
    assert choose_codec(even) == "base3"
    assert expected_bits(rare)["dictionary"] < 0.9 < expected_bits(even)["dictionary"]
