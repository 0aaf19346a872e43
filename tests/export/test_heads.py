"""Grouped queries: heads that are repeated in every spelling, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.export.float_layers import in_layers
from compressor.export.heads import unrepeated
from compressor.graph.capture import capture
from compressor.graph.edit import finish

aten, ops = torch.ops.aten, torch.ops.compressor
Repeat = Callable[[Tensor], Tensor]


class Grouped(nn.Module):
    """Six heads of queries and two of keys."""

    def __init__(self, keys: Repeat, values: Repeat) -> None:
        super().__init__()
        self.keys, self.values = keys, values

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, self.keys(k), self.values(v))


def expanded(x: Tensor) -> Tensor:
    batch, heads, length, width = x.shape
    return x[:, :, None].expand(batch, heads, 3, length, width).reshape(batch, 3 * heads, length, width)


def interleaved(x: Tensor) -> Tensor:
    return x.repeat_interleave(3, 1)


def tiled(x: Tensor) -> Tensor:
    """Head after head, and again: not neighbours."""
    batch, heads, length, width = x.shape
    return x[:, None].expand(batch, 3, heads, length, width).reshape(batch, 3 * heads, length, width)


@pytest.mark.parametrize(
    ("keys", "values", "heads"),
    [(expanded, expanded, 2), (expanded, interleaved, 2), (interleaved, interleaved, 2), (tiled, tiled, 6),
     (expanded, tiled, 6)],
)  # fmt: skip
def test_heads_are_read_where_they_are(keys: Repeat, values: Repeat, heads: int) -> None:
    q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    given = capture(Grouped(keys, values).eval(), (q, k, v)).program
    found = finish(in_layers(given))
    [call] = [node for node in found.nodes() if node.target is ops.attention.default]
    assert [call.args[at].meta["val"].shape[2] for at in (1, 2)] == [heads, heads]
    assert sum(node.target in (aten.expand.default, aten.repeat_interleave.self_int) for node in found.nodes()) == (
        0 if heads == 2 else 2
    )
    for left, right in zip(given.run().values(), found.run().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_another_axis_is_no_repetition_of_heads() -> None:
    class Longer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat_interleave(3, 2) * 2

    program = capture(Longer(), (torch.randn(1, 2, 4, 8),)).program
    for node in program.nodes():
        assert unrepeated(node) is node
