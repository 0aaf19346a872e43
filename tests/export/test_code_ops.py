"""Products of codes in PyTorch: what the floats that they stand for give, summed exactly."""

from __future__ import annotations

import pytest
import torch

from compressor.export.code_ops import conv_codes, linear_codes, table_codes
from compressor.quant.ops import dequantize


def _codes(*shape: int, dtype: torch.dtype = torch.int8) -> torch.Tensor:
    info = torch.iinfo(dtype)
    return torch.randint(
        info.min, info.max + 1, shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype
    )


SCALE, ROWS = torch.tensor(0.02), torch.tensor([0.5, 0.25, 2.0])


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("relu", [False, True])
def test_a_product_is_that_of_the_floats(dtype: torch.dtype, relu: bool) -> None:
    q, w, zero = _codes(2, 5, 40, dtype=dtype), _codes(3, 40), torch.tensor(7, dtype=dtype)
    counts, bias = torch.tensor([100, -3, 0], dtype=torch.int32), torch.tensor([1.0, 0.0, -1.0])
    x, weight = dequantize(q, SCALE, zero, 0), dequantize(w, ROWS, torch.zeros(3, dtype=torch.int8), 0)
    wanted = torch.nn.functional.linear(x, weight, counts * SCALE * ROWS + bias)
    found = linear_codes(q, SCALE, zero, w, ROWS, counts, bias, None, 0.0 if relu else None, None, None)
    torch.testing.assert_close(found, wanted.relu() if relu else wanted, rtol=1e-5, atol=1e-4)


def test_sums_are_exact_where_floats_would_round() -> None:
    q, w = torch.full((1, 4096), 127, dtype=torch.int8), torch.full((1, 4096), 127, dtype=torch.int8)
    one, zero = torch.tensor(1.0), torch.tensor(0, dtype=torch.int8)
    assert linear_codes(q, one, zero, w, one[None], torch.tensor([-(127**2) * 4096 + 1]), *[None] * 5).item() == 1


def test_a_convolution_pads_with_the_zero_point() -> None:
    q, w, zero = _codes(2, 4, 7, 6), _codes(3, 4, 3, 3), torch.tensor(-9, dtype=torch.int8)
    x, weight = dequantize(q, SCALE, zero, 0), dequantize(w, ROWS, torch.zeros(3, dtype=torch.int8), 0)
    wanted = torch.nn.functional.conv2d(x, weight, None, (2, 1), (1, 2), (1, 2))
    last = q.permute(0, 2, 3, 1)
    found = conv_codes(last, SCALE, zero, w, ROWS, *[None] * 6, [2, 1], [2, 2, 1, 1], [1, 2], 1)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), wanted, rtol=1e-5, atol=1e-3)


def test_shapes_are_known_without_values() -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode() as mode:
        q, w, scale, zero, rows = map(mode.from_tensor, (_codes(2, 4, 7, 6), _codes(3, 4, 3, 3), SCALE, SCALE, ROWS))
        made = conv_codes(q.permute(0, 2, 3, 1), scale, zero, w, rows, *[None] * 6, [2, 1], [1, 1, 0, 0], [1, 1], 1)
        assert (tuple(made.shape), made.dtype) == ((2, 3, 6, 3), torch.float32)
        codes = [0.1, 0.0, 0.0, 255.0, 1.0]
        flat = linear_codes(q.flatten(2), scale, zero, mode.from_tensor(_codes(5, 42)), rows, *[None] * 5, codes)
        assert (tuple(flat.shape), flat.dtype) == ((2, 4, 5), torch.uint8)


def test_a_table_gives_rows_times_their_scales() -> None:
    w, ids = _codes(3, 40), torch.tensor([[2, 0], [1, 2]])
    wanted = torch.nn.functional.embedding(ids, dequantize(w, ROWS, torch.zeros(3, dtype=torch.int8), 0))
    assert torch.equal(table_codes(w, ROWS, ids), wanted)
