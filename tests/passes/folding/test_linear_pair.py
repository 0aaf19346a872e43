"""Two linear maps become one only where that is cheaper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn


@pytest.mark.parametrize(
    ("first", "second", "shape"),
    [
        (nn.Linear(8, 32), nn.Linear(32, 8), (2, 5, 8)),
        (nn.Linear(8, 32, bias=False), nn.Linear(32, 8, bias=False), (2, 8)),
        (nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 3, stride=2), (2, 3, 9, 9)),
        (nn.Conv2d(3, 16, 1, bias=False), nn.Conv2d(16, 4, 3, padding=1), (2, 3, 9, 9)),
        (nn.Conv2d(4, 16, 3, padding=1, dilation=2), nn.Conv2d(16, 4, 1), (2, 4, 9, 9)),
        (nn.Conv1d(4, 16, 1), nn.Conv1d(16, 4, 1, bias=False), (2, 4, 9)),
        (nn.ConvTranspose2d(4, 16, 2, 2), nn.Conv2d(16, 3, 1), (2, 4, 5, 5)),
        (nn.Conv2d(4, 16, 1, bias=False), nn.ConvTranspose2d(16, 3, 2, 2), (2, 4, 5, 5)),
        (nn.Conv2d(8, 32, 3), nn.Conv2d(32, 8, 3), (2, 8, 9, 9)),
        (nn.Conv2d(4, 32, 3, stride=2, padding=1), nn.Conv2d(32, 4, 3, stride=2), (2, 4, 17, 14)),
        (nn.Conv2d(4, 32, (3, 1), dilation=(2, 1)), nn.Conv2d(32, 4, (2, 3), dilation=(2, 3)), (2, 4, 12, 12)),
        (nn.Conv2d(4, 32, 1, stride=2, bias=False), nn.Conv2d(32, 2, 3, padding=1), (2, 4, 10, 9)),
        (nn.Conv2d(8, 32, 1, groups=2), nn.Conv2d(32, 8, 1), (2, 8, 7, 7)),
        (nn.Conv2d(8, 32, 1, groups=4), nn.Conv2d(32, 8, 1, groups=2), (2, 8, 7, 7)),
        (nn.Conv2d(1, 32, 1, bias=False), nn.Conv2d(32, 32, 3, padding=1, groups=32), (2, 1, 7, 7)),
        (nn.Conv2d(64, 64, 3, groups=64), nn.Conv2d(64, 1, 1), (2, 64, 7, 7)),
        (nn.Conv1d(4, 16, 3, padding="same"), nn.Conv1d(16, 2, 2, padding="valid"), (2, 4, 9)),
    ],
    ids=str,
)
def test_merged(fold: Any, ops: Any, first: nn.Module, second: nn.Module, shape: tuple[int, ...]) -> None:
    program, result = fold(nn.Sequential(first, second), torch.randn(shape))
    assert result.changed == ("linear_pair:1",)
    assert len(ops(result.program)) == len(ops(program)) - 1
    assert result.program.unique_bytes() < program.unique_bytes()


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), "multiply–accumulates"),
        (nn.Conv2d(8, 32, 1), nn.Conv2d(32, 8, 3, padding=1), "pads its input"),
        (nn.Conv2d(8, 32, 1), nn.ConvTranspose2d(32, 8, 2, 2), "bias of 0 is missing"),
        (nn.Conv2d(8, 32, 3), nn.Conv2d(32, 8, 3, padding=1), "would not give there"),
        (nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), "weights"),
        (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), "multiply–accumulates"),
        (nn.Conv2d(8, 32, 1), nn.Linear(7, 3), "different kinds"),
        (nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 3, stride=7), "weights"),
    ],
    ids=str,
)
def test_declined(fold: Any, reasons: Any, first: nn.Module, second: nn.Module, reason: str) -> None:
    _, result = fold(nn.Sequential(first, second), torch.randn(2, 8, 7, 7))
    assert result.changed == ()
    assert reason in reasons(result)["linear_pair:1"]


def test_a_branch_between_declines(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: torch.Tensor) -> Any:
        y = m.a(x)
        return m.b(y), y

    _, result = fold(forward, torch.randn(2, 4), parts={"a": nn.Linear(4, 16), "b": nn.Linear(16, 4)})
    assert "a is also read elsewhere" in reasons(result)["linear_pair:b"]
