"""Self-relations against a computation by hand, and heads split anew."""

from __future__ import annotations

import math

import torch

from compressor.passes.recover.losses.relations import common_heads, relation


def test_heads_divide_both_widths() -> None:
    assert common_heads((12, 32), (12, 32)) == 12
    assert common_heads((6, 32), (12, 32)) == 12
    assert common_heads((4, 16), (12, 32)) == 8
    assert common_heads((5, 7), (12, 32)) == 1


def _by_hand(x: torch.Tensor, heads: int) -> torch.Tensor:
    _, own, _, width = x.shape
    joined = torch.cat([x[:, head] for head in range(own)], -1)  # [samples, length, own · width]
    parts = joined.split(own * width // heads, -1)
    return torch.stack([torch.softmax(p @ p.mT / math.sqrt(p.shape[-1]), -1) for p in parts], 1)


def test_the_squared_form_is_the_distance_of_the_relations() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 2, 5, 8), torch.randn(2, 4, 5, 8)
    expected = (_by_hand(ours, 4) - _by_hand(theirs, 4)).square().sum(-1).mean(1)
    torch.testing.assert_close(relation(ours, theirs), expected)
    torch.testing.assert_close(relation(theirs, theirs), torch.zeros(2, 5))


def test_the_kl_form_is_the_divergence() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 8)
    p, q = _by_hand(theirs, 4), _by_hand(ours, 4)
    torch.testing.assert_close(relation(ours, theirs, form="kl"), (p * (p / q).log()).sum(-1).mean(1))


def test_padding_is_no_key() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    noisy = ours.clone()
    noisy[1, :, 3:] = 99.0
    for form in ("squared", "kl"):
        a, b = (relation(x, theirs, mask, form)[mask] for x in (ours, noisy))  # type: ignore[arg-type]
        torch.testing.assert_close(a, b)
        assert bool(a.isfinite().all())
