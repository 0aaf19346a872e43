"""Attention in TIR beside PyTorch's: heads that share keys, masks of every shape, causal order, lengths of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kernel_runs import compiled, here, tvm
from torch.nn import functional

from compressor.export.kernels.attention import Attention, attention
from compressor.export.kernels.isa import Isa

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)
SHAPES = [(1, 1, 9, 2, 2, 8, 8), (2, 3, 70, 4, 2, 40, 24), (1, 17, 33, 3, 1, 5, 20), (1, 50, 50, 2, 2, 64, 64)]


def found(
    isa: Isa, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, causal: bool, known: bool
) -> torch.Tensor:
    (b, s, h, d), (_, t, g, e) = q.shape, v.shape
    sizes = (b, s, t) if known else (None, None, None)
    masked = None if mask is None else tuple(1 if size == 1 else None for size in mask.shape)
    first = (known, not known, False)
    spec = Attention(isa, h, g, d, e, d**-0.5, *sizes, masked, causal, first)
    y = tvm.runtime.tensor(np.full((b, s, h, e), 77, np.float32))
    turned = [x.transpose(1, 2).contiguous() if ahead else x for x, ahead in zip((q, k, v), first, strict=True)]
    given = [*turned, *([] if mask is None else [mask])]
    compiled({"attention": attention(spec)})["attention"](*(tvm.runtime.tensor(x.numpy()) for x in given), y)
    return torch.from_numpy(np.array(y.numpy()))


def wanted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
    turned = [x.transpose(1, 2) for x in (q, k, v)]
    y = functional.scaled_dot_product_attention(*turned, mask, 0.0, causal, enable_gqa=q.shape[2] != k.shape[2])
    return y.transpose(1, 2)


def inputs(b: int, s: int, t: int, h: int, g: int, d: int, e: int) -> list[torch.Tensor]:
    torch.manual_seed(s + t)
    return [torch.randn(b, n, heads, width) for n, heads, width in ((s, h, d), (t, g, d), (t, g, e))]


@each
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("known", "causal"), [(False, False), (True, True)])
def test_heads_and_lengths(isa: Isa, shape: tuple[int, ...], known: bool, causal: bool) -> None:
    given = inputs(*shape)
    torch.testing.assert_close(
        found(isa, *given, None, causal, known), wanted(*given, None, causal), rtol=1e-5, atol=1e-5
    )


@each
@pytest.mark.parametrize("sizes", [(1, 1, 1, 70), (2, 1, 17, 70), (1, 4, 17, 1)])
def test_masks_are_added(isa: Isa, sizes: tuple[int, ...]) -> None:
    given = inputs(2, 17, 70, 4, 2, 16, 16)
    mask = torch.where(torch.rand(sizes) > 0.3, torch.randn(sizes), -math.inf if sizes[-1] > 1 else 0.0)
    torch.testing.assert_close(
        found(isa, *given, mask, False, False), wanted(*given, mask, False), rtol=1e-5, atol=1e-5
    )


@each
def test_a_query_that_sees_nothing_gives_nothing(isa: Isa) -> None:
    given = inputs(1, 5, 20, 2, 2, 8, 8)
    mask = torch.zeros(1, 1, 5, 20)
    mask[:, :, 2] = -math.inf
    result = found(isa, *given, mask, False, True)
    assert not result[:, 2].any()
    torch.testing.assert_close(result, wanted(*given, mask, False), rtol=1e-5, atol=1e-5)


@each
def test_large_scores_do_not_overflow(isa: Isa) -> None:
    q, k, v = inputs(1, 6, 20, 1, 1, 16, 16)
    torch.testing.assert_close(
        found(isa, q * 1000, k, v, None, False, True), wanted(q * 1000, k, v, None, False), rtol=1e-4, atol=1e-4
    )
