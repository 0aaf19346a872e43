"""The correction against least squares, and what it promises on its own inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.passes.sparsifying.pattern import parse_pattern
from compressor.passes.sparsifying.scores import Ranking
from compressor.passes.sparsifying.update import DAMPING, relative_error, updated


def problem(inputs: int = 24, outputs: int = 6) -> tuple[Tensor, Tensor]:
    """Weights, and the gram matrix of inputs that go together."""
    generator = torch.Generator().manual_seed(0)
    few, mixing = torch.randn(600, 8, generator=generator), torch.randn(8, inputs, generator=generator)
    x = (few @ mixing + 0.5 * torch.randn(600, inputs, generator=generator)).double()
    return torch.randn(outputs, inputs, generator=generator, dtype=torch.float64), x.T @ x


def test_one_weight_gone_is_the_brain_surgeons_formula() -> None:
    """The first input goes: w ← w − w₁ / (H⁻¹)₁₁ · (H⁻¹)₁, the optimum of all other weights."""
    weight, gram = problem()
    noise = torch.ones_like(weight)
    noise[:, 0] = 0.0
    damped = gram + DAMPING[0] * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    inverse = torch.linalg.inv(damped)
    expected = weight - torch.outer(weight[:, 0] / inverse[0, 0], inverse[0])
    expected[:, 0] = 0.0
    found = updated(weight, gram, parse_pattern(str(1 / 24), "test"), Ranking(noise=noise))
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("pattern", ["2of4", "3of12", "0.5"])
@pytest.mark.parametrize("inputs", [24, 264])
def test_it_hurts_less_than_zeros_alone(pattern: str, inputs: int) -> None:
    weight, gram = problem(inputs)
    ranking = Ranking(norms=gram.diagonal().sqrt())
    found = updated(weight, gram, parse_pattern(pattern, "test"), ranking)
    assert found is not None
    plain = weight * parse_pattern(pattern, "test").mask(ranking.of(weight))
    assert relative_error(weight, found, gram) < 0.9 * relative_error(weight, plain, gram)
    assert (found == 0).sum() == pytest.approx((plain == 0).sum(), abs=len(weight))


def test_inputs_that_are_always_zero_or_always_equal_can_be_solved() -> None:
    weight, gram = problem()
    gram[3], gram[:, 3] = 0.0, 0.0
    gram[5], gram[:, 5] = gram[4], gram[:, 4]
    gram[5, 5] = gram[4, 4]
    found = updated(weight, gram, parse_pattern("2of4", "test"), Ranking())
    assert found is not None
    assert torch.isfinite(found).all()


def test_what_is_not_finite_is_given_up() -> None:
    weight, gram = problem()
    assert updated(weight, gram * float("nan"), parse_pattern("2of4", "test"), Ranking()) is None


def test_relative_error_is_that_of_the_outputs() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    a, b = (torch.randn(3, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = float((x @ (a - b).T).norm() / (x @ a.T).norm())
    assert relative_error(a, b, x.T @ x) == pytest.approx(expected)
    assert relative_error(a, b, None) == pytest.approx(float((a - b).norm() / a.norm()))
