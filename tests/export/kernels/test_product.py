"""Products in TIR: every float as numpy's, for any shape, number of rows, bits and blocks; integers never wrap."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from emulated_kernels import emulated
from kernel_runs import Given, arguments, here, multiplied, product_of, random_given, reference

from compressor.export.kernels.isa import NEON, NEON_BYTES, NEON_DOT, NEON_I8MM, Isa
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.product import product
from compressor.quant.ternary import dequantize_ternary, quantize_ternary

HERE = here()
each = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)
BITS, ROWS = (2, 4, 8), (1, 2, 7, 9)


def test_this_machine_has_kernels_to_test() -> None:
    assert HERE


@each
@pytest.mark.parametrize(("bits", "rows"), list(itertools.product(BITS, ROWS)))
def test_rows_that_are_known(isa, bits: int, rows: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (isa.lanes * isa.vectors + 3, 131), bits)
    assert np.array_equal(multiplied(isa, given), reference(given))


@each
@pytest.mark.parametrize("rows", [1, 9])
def test_the_last_tile_may_be_as_wide_as_the_others(isa, rows: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (2 * isa.lanes * isa.vectors - 3, 64), 2)
    assert np.array_equal(multiplied(isa, given), reference(given))


@each
@pytest.mark.parametrize(("bits", "deep"), [(2, 6000), (8, 1500)])
def test_rows_meet_one_part_of_a_tile_after_another(isa, bits: int, deep: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(19, (isa.lanes * isa.vectors, deep), bits)
    assert np.array_equal(multiplied(isa, given), reference(given))
    assert np.array_equal(multiplied(isa, given, symbolic=True), reference(given))


@each
@pytest.mark.parametrize("rows", [1, 3, 150])
def test_rows_that_are_not_known(isa, rows: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (2 * isa.lanes * isa.vectors, 96), 2, bias=False, relu=True)
    assert np.array_equal(multiplied(isa, given, symbolic=True), reference(given))


@each
@pytest.mark.parametrize(("bits", "block", "rows"), list(itertools.product((2, 8), (32, 64, 128), (1, 9))))
def test_scales_by_block(isa, bits: int, block: int, rows: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (isa.lanes + 1, 300), bits, block)
    assert np.array_equal(multiplied(isa, given), reference(given))


def _extreme(bits: int, rows: int, deep: int) -> Given:
    """Weights and activations of the largest sizes, and sums of both signs."""
    least, most = (-1, 1) if bits == 2 else (-128, 127)
    w = torch.tensor([[least], [most], [least], [0]], dtype=torch.int8).repeat(1, deep)
    w[2, ::2] = most
    q = torch.tensor([-128, 127], dtype=torch.int8)[torch.arange(rows) % 2][:, None].repeat(1, deep)
    q[rows // 2 :, ::2] = q[rows // 2 :, ::2].neg().sub(1)
    return Given(w, torch.ones(4, 1), None, q, torch.ones(rows), bits)


@each
@pytest.mark.parametrize(("bits", "rows", "deep"), [(2, 1, 16384), (2, 8, 16383), (8, 1, 16384), (8, 8, 5000)])
def test_extremes_do_not_wrap(isa, bits: int, rows: int, deep: int) -> None:  # type: ignore[no-untyped-def]
    given = _extreme(bits, rows, deep)
    assert np.array_equal(multiplied(isa, given), reference(given))


ALWAYS = [
    *(random_given(rows, (11, 131), bits) for rows, bits in ((1, 2), (9, 4), (3, 8))),
    random_given(3, (9, 300), 4, 64),
    replace(random_given(5, (21, 70), 2, 64), by_block=True, q_scales=torch.rand(5, 2)),
    replace(random_given(19, (24, 6000), 2), offsets=torch.arange(24, dtype=torch.int32) * 999 - 9999),
    *(_extreme(bits, rows, 4096) for bits, rows in ((2, 8), (8, 1), (8, 8))),
]
AT_LEISURE = [
    *(random_given(rows, (11, 131), bits) for rows, bits in itertools.product((1, 2, 3, 9), (2, 4, 8))),
    *(random_given(rows, (9, 300), bits, block) for rows, bits, block in ((1, 2, 32), (9, 8, 32))),
    *(_extreme(bits, rows, 4096) for bits, rows in itertools.product((2, 8), (1, 2))),
]


@pytest.mark.parametrize(
    "given",
    [*ALWAYS, *(pytest.param(given, marks=pytest.mark.emulated) for given in AT_LEISURE)],
    ids=lambda given: f"{len(given.q)}x{given.w.shape[0]}x{given.w.shape[1]}-{given.bits}-{given.block}",
)
@pytest.mark.parametrize("isa", [NEON_I8MM, NEON_DOT, NEON, NEON_BYTES], ids=lambda isa: isa.name)
def test_arm_s_give_the_same_numbers_on_emulated_cores(isa: Isa, given: Given, tmp_path: Path) -> None:
    function = product(product_of(isa, given, parallel=False))
    assert np.array_equal(emulated(isa, function, arguments(isa, given), tmp_path), reference(given))


@each
def test_codes_of_two_bits_down_to_minus_two(isa) -> None:  # type: ignore[no-untyped-def]
    given = random_given(3, (isa.lanes, 200), 2)
    given = replace(given, w=torch.randint(-2, 2, given.w.shape, dtype=torch.int8), q=torch.full_like(given.q, -128))
    assert np.array_equal(multiplied(isa, given), reference(given))


@each
def test_a_ternary_layer_is_what_its_dequantized_matrix_gives(isa) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    ternary = quantize_ternary(torch.randn(40, 200))
    given = random_given(5, (40, 200), 2, bias=False)
    given = replace(given, w=ternary.codes, scales=ternary.high[:, None], q_scales=torch.ones(5))
    expected = given.q.double() @ dequantize_ternary(ternary).double().T
    assert np.allclose(multiplied(isa, given), expected.numpy(), rtol=2e-7, atol=0)


@each
@pytest.mark.parametrize(("rows", "multiple"), [(12, 4), (132, 12), (140, 2)])
def test_rows_that_are_a_multiple_take_less_code_and_come_out_the_same(isa, rows: int, multiple: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (isa.lanes + 1, 40), 8)
    assert np.array_equal(multiplied(isa, given, symbolic=True, multiple=multiple), reference(given))
    layout = given.packed(isa).layout
    any_, some = (len(product(Product(isa, layout, None, multiple=each)).script()) for each in (1, multiple))
    assert some < any_
