"""Which codec ternary codes are stored with: the one that their histogram makes shorter.

base3        1.6 bits a weight, whatever the codes
dictionary   fewer where most codes are zero: 0.7 at 88% zeros, 1.6 at a third
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from compressor.quant.codecs.dictionary import dictionary_of, zeros_in

__all__ = ["Codec", "choose_codec", "expected_bits"]

Codec = Literal["base3", "dictionary"]
_BASE3 = 8 / 5


def expected_bits(codes: Tensor) -> dict[Codec, float]:
    """Bits a weight of each codec, by the share of zeros alone, without any scales."""
    return {"base3": _BASE3, "dictionary": dictionary_of(zeros_in(codes)).bits}


def choose_codec(codes: Tensor) -> Codec:
    """The shorter one. The dictionary has to be shorter by a twentieth: it is the slower one to unpack."""
    bits = expected_bits(codes)
    return "dictionary" if bits["dictionary"] < 0.95 * bits["base3"] else "base3"
