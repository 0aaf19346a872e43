"""Ternary weights: what each rule is for, exactness on its own grid, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.formats import PER_TENSOR, Granularity
from compressor.quant.ternary import (
    RULES,
    Rule,
    dequantize_ternary,
    quantize_ternary,
    ternary_bits,
    with_scale,
)

GROUPS = (PER_TENSOR, Granularity(0), Granularity(1, 32), Granularity(1, 128))
shapes = st.tuples(st.integers(1, 9), st.integers(1, 200))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(shapes, st.sampled_from(RULES), st.sampled_from(GROUPS), st.integers(0, 2**20))
@settings(max_examples=80, deadline=None)
def test_what_is_ternary_already_is_exact(shape: tuple[int, int], rule: Rule, groups: Granularity, seed: int) -> None:
    """Signs of one size: no zeros, which absmean would take for a smaller scale."""
    weight = torch.sign(normal(*shape, seed=seed)) * 2.0**-3
    weight[weight == 0] = 2.0**-3
    once = dequantize_ternary(quantize_ternary(weight, rule, groups))
    assert once.dtype == torch.float32
    torch.testing.assert_close(once, weight, rtol=1e-6, atol=0)


@given(shapes, st.sampled_from(RULES), st.sampled_from(GROUPS), st.integers(0, 2**20))
@settings(max_examples=80, deadline=None)
def test_codes_and_scales_have_their_shapes(shape: tuple[int, int], rule: Rule, groups: Granularity, seed: int) -> None:
    found = quantize_ternary(normal(*shape, seed=seed), rule, groups)
    assert (found.codes.shape, found.codes.dtype) == (shape, torch.int8)
    assert set(found.codes.unique().tolist()) <= {-1, 0, 1}
    wanted = {None: (), 0: shape[:1]}.get(groups.axis, (shape[0], -(-shape[1] // (groups.block or 1))))
    assert found.high.shape == found.low.shape == wanted
    assert found.symmetric or rule == "minmax"
    assert bool((found.low <= found.high).all())


def test_absmean_is_bitnets() -> None:
    weight = torch.tensor([[0.4, -1.2, 0.1, 0.3], [0.0, 0.0, 2.0, -6.0]])
    found = quantize_ternary(weight, "absmean", Granularity(0))
    torch.testing.assert_close(found.high, torch.tensor([0.5, 2.0]))
    assert found.codes.tolist() == [[1, -1, 0, 1], [0, 0, 1, -1]]


def test_minmax_is_qmoes() -> None:
    found = quantize_ternary(torch.tensor([[0.9, 0.4, -0.3, -0.1, 1.0]]), "minmax", Granularity(0))
    assert found.codes.tolist() == [[1, 0, -1, 0, 1]]
    assert (float(found.low), float(found.high)) == pytest.approx((-0.3, 1.0))


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_fitted_is_the_best_there_is(values: list[float]) -> None:
    """Against every assignment of codes, each with the scale that fits it best."""
    weight = torch.tensor([values], dtype=torch.float32)
    found = dequantize_ternary(quantize_ternary(weight, "fitted", Granularity(0)))
    every = itertools.product((-1, 0, 1), repeat=len(values))
    best = min(_error(weight.double(), torch.tensor([codes]).double()) for codes in every)
    assert float((weight.double() - found.double()).square().sum()) <= best + 1e-6


def _error(weight: Tensor, codes: Tensor) -> float:
    scale = (weight * codes).sum() / codes.square().sum().clamp(min=1)
    return float((weight - scale * codes).square().sum())


def test_gaussian_weights_give_a_third_of_zeros() -> None:
    codes = quantize_ternary(normal(64, 4096), "absmean").codes
    assert float((codes == 0).float().mean()) == pytest.approx(0.31, abs=0.01)
    rare = quantize_ternary(normal(64, 4096), "minmax").codes
    assert 0.85 < float((rare == 0).float().mean()) < 0.97


def test_a_learned_scale_is_taken_as_it_is() -> None:
    weight = normal(4, 64)
    for scale, groups in ((torch.tensor(0.7), PER_TENSOR), (torch.full((4,), -0.5), Granularity(0))):
        found, column = with_scale(weight, scale, groups), scale.view(-1, 1)
        assert torch.equal(found.high, scale)
        wanted = torch.clamp(torch.round(weight / column), -1, 1) * column
        torch.testing.assert_close(dequantize_ternary(found), wanted)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("groups", GROUPS)
def test_zeros_and_the_smallest_numbers_stay_finite(rule: Rule, groups: Granularity) -> None:
    for value in (0.0, 1e-45, -1e-40, 3e38):
        weight = torch.full((2, 40), value)
        found = dequantize_ternary(quantize_ternary(weight, rule, groups))
        assert bool(torch.isfinite(found).all())
        assert bool((found.abs() <= weight.abs() * (1 + 1e-6)).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        quantize_ternary(torch.tensor([[1.0, value]]))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="no matrix"):
        quantize_ternary(normal(3))
    with pytest.raises(InputError, match="by tensor, row or block"):
        quantize_ternary(normal(3, 4), "absmean", Granularity(1))
    with pytest.raises(InputError, match="no rule"):
        quantize_ternary(normal(3, 4), "stars")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="zero among them"):
        with_scale(normal(3, 4), torch.tensor([1.0, 0.0, 1.0]), Granularity(0))


def test_bits_as_stored() -> None:
    assert ternary_bits((4, 1000), PER_TENSOR) == pytest.approx(1.6 + 32 / 4000)
    assert ternary_bits((4, 1000), Granularity(0), trit=2.0, scale=16) == pytest.approx(2 + 16 / 1000)
    assert ternary_bits((4, 1000), Granularity(1, 128)) == pytest.approx(1.6 + 32 * 8 / 1000)
