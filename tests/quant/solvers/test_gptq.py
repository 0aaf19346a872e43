"""GPTQ: less output error than nearest rounding wherever inputs go together, on every grid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.solvers.gptq import Nearest, gptq
from compressor.quant.ternary import dequantize_ternary, quantize_ternary


def layer(rows: int = 24, width: int = 96, samples: int = 512) -> tuple[Tensor, Tensor]:
    """A weight, and inputs that are mixtures of a few directions, one of them large."""
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(samples, width // 4, generator=random) @ torch.randn(width // 4, width, generator=random)
    inputs = mixed + 0.3 * torch.randn(samples, width, generator=random)
    inputs[:, 7] *= 20
    return torch.randn(rows, width, generator=random), inputs


def integer(bits: int, weight: Tensor) -> tuple[Nearest, Callable[[Tensor], Tensor]]:
    most = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(1).double() / most
    rounded = lambda values, s: torch.clamp(torch.round(values / s), -most, most) * s  # noqa: E731
    return lambda column, _: rounded(column, scale), lambda w: rounded(w.double(), scale.unsqueeze(1)).float()


def ternary(weight: Tensor) -> tuple[Nearest, Callable[[Tensor], Tensor]]:
    high = quantize_ternary(weight, "fitted").high.double()
    return (
        lambda column, _: torch.clamp(torch.round(column / high), -1, 1) * high,
        lambda w: dequantize_ternary(quantize_ternary(w, "fitted")),
    )


def error(weight: Tensor, found: Tensor, inputs: Tensor) -> float:
    return float(((found - weight) @ inputs.T).norm() / (weight @ inputs.T).norm())


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("bits", [8, 4, 3, 0])
def test_the_output_error_is_far_below_nearest_rounding(bits: int, order: bool) -> None:
    weight, inputs = layer()
    nearest, whole = integer(bits, weight) if bits else ternary(weight)
    found = gptq(weight, inputs.T @ inputs, nearest, order=order)
    assert error(weight, found, inputs) < 0.7 * error(weight, whole(weight), inputs)


def test_every_value_is_on_the_grid() -> None:
    weight, inputs = layer()
    nearest, whole = integer(4, weight)
    found = gptq(weight, inputs.T @ inputs, nearest)
    torch.testing.assert_close(whole(found), found)


def test_inputs_that_do_not_go_together_leave_nearest_rounding() -> None:
    weight, _ = layer()
    nearest, whole = integer(4, weight)
    torch.testing.assert_close(gptq(weight, torch.eye(96), nearest, damping=0.0, order=False), whole(weight))


def test_an_input_that_is_always_zero_costs_nothing() -> None:
    weight, inputs = layer()
    inputs[:, 3] = 0
    nearest, _ = integer(4, weight)
    found = gptq(weight, inputs.T @ inputs, nearest)
    assert float(found[:, 3].abs().max()) == 0.0


def test_a_gram_matrix_that_is_none_falls_back_to_columns_by_themselves() -> None:
    weight, _ = layer()
    nearest, whole = integer(4, weight)
    broken = torch.full((96, 96), -5.0) + 6 * torch.eye(96)
    torch.testing.assert_close(gptq(weight, broken, nearest, damping=0.0), whole(weight))


def test_what_does_not_fit_is_refused() -> None:
    weight, _ = layer()
    nearest, _ = integer(4, weight)
    with pytest.raises(InputError, match="do not go together"):
        gptq(weight, torch.eye(5), nearest)
    with pytest.raises(InputError, match="NaN"):
        gptq(weight * float("nan"), torch.eye(96), nearest)
