"""Three layers become one where no two of them would, and the latency model has the last word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.passes.fold import Fold
from compressor.targets.loader import load_target
from tests.per_kernel import PerKernel

TARGET = load_target("x86-64")


def inverted(width: int, wide: int, stride: int = 1, first_bias: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, wide, 1, bias=first_bias), nn.Conv2d(wide, wide, 3, stride, 1, groups=wide),
        nn.Conv2d(wide, width, 1),
    )  # fmt: skip


def test_an_inverted_residual_becomes_one_convolution(fold: Any, ops: Any) -> None:
    program, result = fold(inverted(2, 32, stride=2), torch.randn(2, 2, 9, 8))
    assert result.changed == ("linear_run:2",)
    assert ops(result.program) == ["conv2d"]
    assert result.program.unique_bytes() < program.unique_bytes()
    assert tuple(result.program.get("1.weight").shape) == (2, 2, 3, 3)


def test_the_reason_for_none(fold: Any, reasons: Any) -> None:
    _, result = fold(inverted(8, 16), torch.randn(2, 8, 9, 8))
    assert "multiply–accumulates" in reasons(result)["linear_run:2"]
    _, result = fold(inverted(2, 32, first_bias=True), torch.randn(2, 2, 9, 8))
    assert "the bias of 0 is missing" in reasons(result)["linear_run:2"]


@pytest.mark.parametrize(("model", "merged"), [(None, False), (PerKernel(), True), (PerKernel(1e6), False)])
def test_the_latency_model_decides(model: Any, merged: bool) -> None:
    program = capture(inverted(8, 16).eval(), (torch.randn(2, 8, 9, 8),)).program
    result = Fold().run(program, Context(TARGET, latency=model))
    assert bool(result.changed) == merged
    if not merged and model is not None:
        assert any("is predicted to take" in skip.reason for skip in result.skipped)
    again = Fold(sites=result.settings).run(program, Context(TARGET, latency=model)) if merged else result
    assert again.program.hash() == result.program.hash()
    [ours], [theirs] = result.program.run().values(), program.run().values()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_where_files_are_to_be_small_bytes_decide() -> None:
    program = capture(inverted(8, 16).eval(), (torch.randn(2, 8, 9, 8),)).program
    small = replace(TARGET, objective="size")
    assert Fold().run(program, Context(small, latency=PerKernel())).changed == ()
    wider = capture(inverted(8, 64).eval(), (torch.randn(2, 8, 9, 8),)).program
    assert Fold().run(wider, Context(small, latency=PerKernel(1e6))).changed == ("linear_run:2",)
