"""Figures are those of the formulas, and what is allowed belongs to the arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from quantized import with_int8
from torch import Tensor

from compressor.errors import MismatchError
from compressor.export.agreement import FP16, FP32, INT8, figures, is_rounding, tolerance_of
from compressor.graph.capture import capture
from compressor.graph.program import Program


@pytest.mark.parametrize("batches", [1, 3])
def test_figures_count_over_all_batches(conv_program: Program, batches: int) -> None:
    torch.manual_seed(0)
    expected = [torch.randn(4, 5) for _ in range(batches)]
    actual = [value + 0.1 * torch.randn(4, 5) for value in expected]
    [found] = figures(conv_program, pairs(actual, expected), where="")
    whole, reference = torch.cat(actual), torch.cat(expected)
    assert found.relative_rms == pytest.approx(float((whole - reference).norm() / reference.norm()), rel=1e-5)
    assert found.max_abs == pytest.approx(float((whole - reference).abs().max()), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(whole.flatten(), reference.flatten(), dim=0)
    assert found.cosine == pytest.approx(float(cosine), rel=1e-5)
    assert found.equal == 0.0


def pairs(actual: list[Tensor], expected: list[Tensor]) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    return [({"output": a}, {"output": e}) for a, e in zip(actual, expected, strict=True)]


def test_nan_where_there_is_none_is_infinitely_far(conv_program: Program) -> None:
    [found] = figures(conv_program, pairs([torch.full((2, 5), math.nan)], [torch.ones(2, 5)]), where="")
    assert found.relative_rms == math.inf


def test_another_shape_is_named(conv_program: Program) -> None:
    with pytest.raises(MismatchError, match="shape") as caught:
        figures(conv_program, pairs([torch.ones(2, 4)], [torch.ones(2, 5)]), where="model.onnx")
    assert caught.value.where == "model.onnx"


def test_the_tolerance_is_that_of_the_coarsest_arithmetic(conv_program: Program) -> None:
    assert tolerance_of(conv_program) is FP32
    static = with_int8(conv_program, "linear")
    assert (tolerance_of(static), is_rounding(static)) == (INT8, True)
    weights = with_int8(conv_program, "linear", weight_only=True)
    assert (tolerance_of(weights), is_rounding(weights)) == (FP32, False)
    half = capture(torch.nn.Linear(2, 2).half(), (torch.ones(2, 2, dtype=torch.float16),)).program
    assert tolerance_of(half) is FP16
