"""Masks made from positions, and attention that obeys them."""

from __future__ import annotations

import pytest
import torch

from compressor.devices.latency.networks.attention import Attention, Stack, head_sizes, mask
from compressor.devices.latency.networks.draw import Draw


@pytest.mark.parametrize("kind", ["all", "causal", "packed"])
def test_masks(kind: str) -> None:
    found = mask(kind, torch.zeros(2, 5, 8)).expand(2, 1, 5, 5)
    wanted = torch.ones(5, 5, dtype=torch.bool)
    assert torch.equal(found[1, 0], wanted if kind == "all" else wanted.tril())


def test_a_causal_stack_does_not_look_ahead() -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        draw = Draw(seed)
        heads, inner = head_sizes(draw, 32)
        stack = Stack("packed", Attention(draw, 32, heads, inner, causal=True)).eval()
        x = torch.randn(1, 6, 32)
        y = x.clone()
        y[:, 4:] = 0
        with torch.no_grad():
            assert torch.allclose(stack(x)[:, :4], stack(y)[:, :4], atol=1e-6)
