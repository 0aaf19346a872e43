"""Ternary rows as words of 16 bits, each a run of up to 28 weights: short for what is mostly zeros.

    dictionary   the 65,536 or fewer leaves of a tree over pairs of weights, grown at its likeliest leaf: p = Π p(q)
    bits         16 / Σ_words p(word) · 2 · pairs(word)                                   a weight, expected

The tree is grown from the share of zeros alone, in sixty-fourths, so that no dictionary is stored. It is Tunstall's
code (1967), with sequences as short as QMoE's, whose kernel decodes fourteen pairs (Frantar, Alistarh, 2023,
arXiv:2310.16795). At p(0) = 0.885 it takes 0.7 bits a weight; where the codes are about as likely, base 3 is shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import InputError
from compressor.quant.codecs.unpack import PAIRS, STEPS, grown

__all__ = ["STEPS", "Dictionary", "Words", "decode_rows", "dictionary_of", "encode_rows", "zeros_in"]

_ZEROS = 4  # the pair (0, 0): 3 · (0 + 1) + (0 + 1)


@dataclass(frozen=True)
class Dictionary:
    """`next` (nodes, 9): the node that a pair leads to, or −1 − word where it ends one; `pairs` (words, 14) of each
    word, `lengths` (words,) how many; `bits` a weight, expected."""

    next: Tensor
    pairs: Tensor
    lengths: Tensor
    bits: float


@dataclass(frozen=True)
class Words:
    """Rows of `width` codes: `words` int32 of all rows one after the other, `offsets` (rows + 1,) where each begins."""

    words: Tensor
    offsets: Tensor
    width: int
    zeros: int


def zeros_in(codes: Tensor) -> int:
    """The share of zeros in sixty-fourths, at least one of them and at most all but one."""
    return min(max(round(float((codes == 0).float().mean()) * STEPS), 1), STEPS - 1)


@lru_cache(maxsize=STEPS)
def dictionary_of(zeros: int) -> Dictionary:
    """Of rows in which so many sixty-fourths are zeros. Raises InputError for none or all."""
    if not 0 < zeros < STEPS:
        raise InputError(f"{zeros} of {STEPS} zeros is no share that a dictionary is for")
    following, runs, expected = grown(zeros)
    pairs = torch.full((len(runs), PAIRS), _ZEROS, dtype=torch.int8)
    for word, run in enumerate(runs):
        pairs[word, : len(run)] = torch.tensor(run, dtype=torch.int8)
    lengths = torch.tensor([len(run) for run in runs], dtype=torch.int32)
    return Dictionary(torch.tensor(following, dtype=torch.int32), pairs, lengths, 16 / expected)


def encode_rows(codes: Tensor, zeros: int | None = None) -> Words:
    """Codes (rows, width) of −1, 0 and 1 as words; what the last word of a row needs more is filled with zeros.

    All rows are walked through the tree together. Raises InputError for other codes.
    """
    if codes.dim() != 2 or bool((codes.abs() > 1).any()):
        raise InputError("rows of ternary codes are a matrix of −1, 0 and 1")
    share = zeros_in(codes) if zeros is None else zeros
    known = dictionary_of(share)
    rows, width = codes.shape
    digits = functional.pad(codes.to(torch.int32) + 1, (0, width % 2), value=1).view(rows, -1, 2)
    symbols = digits[..., 0] * 3 + digits[..., 1]
    node = torch.zeros(rows, dtype=torch.int32)
    found: list[Tensor] = []
    for step in range(symbols.shape[1] + PAIRS):
        if step < symbols.shape[1]:
            target = known.next[node, symbols[:, step]]
        else:  # only rows that stand inside the tree go on, with zeros
            target = torch.where(node > 0, known.next[node, torch.full_like(node, _ZEROS)], node)
        found.append(torch.where(target < 0, -1 - target, torch.full_like(target, -1)))
        node = target.clamp(min=0)
    words = torch.stack(found, 1)
    here = words >= 0
    offsets = functional.pad(here.sum(1).cumsum(0), (1, 0))
    return Words(words[here], offsets, width, share)


def decode_rows(words: Words) -> Tensor:
    """The int8 codes (rows, width). Raises InputError for words that are not in the dictionary or do not fill a row."""
    known = dictionary_of(words.zeros)
    if words.words.numel() and not 0 <= int(words.words.min()) <= int(words.words.max()) < len(known.lengths):
        raise InputError(f"a word that the dictionary of {words.zeros} sixty-fourths does not have")
    rows = len(words.offsets) - 1
    lengths = known.lengths[words.words]
    pairs = known.pairs[words.words]
    flat = pairs[torch.arange(PAIRS) < lengths.unsqueeze(1)].to(torch.int16)
    digits = torch.stack((flat // 3 - 1, flat % 3 - 1), 1).flatten().to(torch.int8)
    ends = functional.pad(lengths.cumsum(0) * 2, (1, 0))[words.offsets]
    if bool((ends.diff() < words.width).any()):
        raise InputError(f"words that fill less than a row of {words.width}")
    places = ends[:rows].unsqueeze(1) + torch.arange(words.width)
    return digits[places]
