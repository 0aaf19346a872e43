"""Sizes of convolutions, products and pools, read from calls."""

from __future__ import annotations

from timed_networks import call, conv, linear

from compressor.devices.latency.laws.geometry import Product, convolution_of, pool_kernel, product_of


def test_a_grouped_strided_convolution() -> None:
    found = convolution_of(conv("c", "x", 32, 64, 28, 3, 2, 4))
    assert found is not None
    assert (found.channels, found.filters, found.groups, found.kernel, found.stride) == (32, 64, 4, (3, 3), (2, 2))
    assert (found.area, found.pixels, found.row) == (9, 14 * 14, 14)
    assert not found.depthwise
    assert not found.pointwise


def test_depthwise_and_pointwise() -> None:
    depthwise, pointwise = (
        convolution_of(conv("c", "x", 32, 32, 8, 3, 1, 32)),
        convolution_of(conv("c", "x", 3, 8, 8, 1)),
    )
    assert depthwise is not None
    assert depthwise.depthwise
    assert pointwise is not None
    assert pointwise.pointwise


def test_no_convolution_without_its_weight() -> None:
    assert convolution_of(call("c", "conv2d", "conv2d", (1, 8, 8, 8), ("x", (1, 8, 8, 8)))) is None


def test_products() -> None:
    assert product_of(linear("l", "x", 12, 40, 72)) == Product(1, 12, 40, 72)
    two = call("m", "matmul", "matmul", (4, 6, 8), ("a", (4, 6, 5)), ("b", (4, 5, 8)), macs=4 * 6 * 8 * 5)
    assert product_of(two) == Product(4, 6, 5, 8)
    assert product_of(call("s", "sym_size", "other", ())) is None


def test_pools() -> None:
    pool = call("p", "max_pool2d", "pool", (1, 8, 4, 4), ("x", (1, 8, 8, 8)), arguments=(None, (3, 2)))
    whole = call("p", "adaptive_avg_pool2d", "pool", (1, 8, 1, 1), ("x", (1, 8, 7, 7)), arguments=(None, 1))
    assert (pool_kernel(pool), pool_kernel(whole)) == (6, 49)
