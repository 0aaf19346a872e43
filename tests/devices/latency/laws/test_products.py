"""The loops of matrix products, counted."""

from __future__ import annotations

import pytest
from timed_networks import call, linear

from compressor.devices.latency.laws.geometry import Product
from compressor.devices.latency.laws.numbers import Context
from compressor.devices.latency.laws.products import attention, gemm, linear_blocks, linear_integer, matmul, vector


@pytest.mark.parametrize(("lanes", "rows", "most"), [(8, 16, 12), (16, 22, 12)])
def test_rows_are_done_many_at_a_time_and_the_last_ones_few(lanes: int, rows: int, most: int) -> None:
    terms = gemm(rows, 32, 2 * lanes, packed=True, lanes=lanes)  # (6 + 6 or 12 + 6), 3, 1
    one = terms["macs of 1 row"]
    assert terms["macs of most rows"] == pytest.approx(most * one)
    assert terms["macs of 6 rows"] == pytest.approx(6 * one if lanes == 16 else 0)
    assert terms["macs of 3 rows"] == pytest.approx(3 * one)
    assert "panels" not in terms
    assert gemm(16, 32, 16, packed=False)["panels"] > 0


def test_columns_are_padded_to_two_vectors() -> None:
    assert gemm(6, 32, 17, packed=True)["macs of most rows"] == pytest.approx(6 * 32 * 32 / 50e3)
    assert gemm(12, 32, 33, packed=True, lanes=16)["macs of most rows"] == pytest.approx(12 * 64 * 32 / 50e3)


def test_one_row_is_bound_by_its_weights() -> None:
    one = vector(linear("l", "x", 1, 512, 1000), Product(1, 1, 512, 1000), Context()).terms
    assert "macs of 1 row" not in one
    assert sum(value for name, value in one.items() if name.startswith("weight")) > 0.5 * sum(one.values())


def test_weights_that_do_not_stay_are_dearer() -> None:
    product, layer = Product(1, 1, 512, 1000), linear("l", "x", 1, 512, 1000)
    near, far = (vector(layer, product, Context(False, size, size)).terms for size in (10**6, 10**8))
    assert near["cold weight"] == 0 < far["cold weight"]


def test_integers_and_blocks() -> None:
    layer, product = linear("l", "x", 8, 64, 64), Product(1, 8, 64, 64)
    assert linear_integer(layer, product, Context()).terms["macs"] > 0
    packed = linear("l", "x", 8, 64, 64, arguments=(None, None, None, None, 2, 32, 64, True))
    found = linear_blocks(packed, product, Context())
    assert (found.features["bits"], found.features["integer"]) == (2, 1)
    assert "unpacked" not in linear_blocks(packed, Product(1, 1, 64, 64), Context()).terms


def test_a_product_of_activations_lays_out_the_second() -> None:
    two = call("m", "matmul", "matmul", (2, 6, 8), ("a", (2, 6, 4)), ("b", (2, 4, 8)))
    assert matmul(two, Product(2, 6, 4, 8), Context()).terms["panels"] > 0


def test_a_mask_costs() -> None:
    shape = (1, 4, 16, 32)
    plain = call("a", "scaled_dot_product_attention", "attention", shape, *((n, shape) for n in "qkv"))
    inputs = [*((n, shape) for n in "qkv"), ("mask", (1, 1, 16, 16))]
    masked = call("a", "scaled_dot_product_attention", "attention", shape, *inputs)
    assert sum(attention(masked, Context()).terms.values()) > sum(attention(plain, Context()).terms.values())
