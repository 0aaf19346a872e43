"""Sums of linear maps of one input become one layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn


def conv(*args: Any, **kwargs: Any) -> nn.Conv2d:
    return nn.Conv2d(*args, **kwargs)


@pytest.mark.parametrize(
    ("one", "other", "shape"),
    [
        (None, nn.Linear(8, 8), (2, 5, 8)),
        (nn.Linear(8, 6), nn.Linear(8, 6, bias=False), (2, 8)),
        (None, conv(8, 8, 3, padding=1), (2, 8, 7, 6)),
        (None, conv(8, 8, 3, padding=2, dilation=2, groups=4), (2, 8, 7, 6)),
        (None, conv(8, 8, 5, padding="same", groups=8, bias=False), (2, 8, 7, 6)),
        (conv(8, 4, 1), conv(8, 4, 3, padding=1), (2, 8, 7, 6)),
        (conv(8, 4, 1, 2), conv(8, 4, 3, 2, 1, bias=False), (2, 8, 7, 6)),
        (conv(8, 8, (3, 1), padding=(1, 0), groups=4), conv(8, 8, (3, 3), padding=1, groups=2), (2, 8, 7, 6)),
        (nn.BatchNorm2d(8), conv(8, 8, 3, padding=1), (2, 8, 7, 6)),
        (nn.Conv1d(8, 8, 3, padding=1), None, (2, 8, 7)),
    ],
    ids=str,
)
def test_merged(fold: Any, ops: Any, one: Any, other: Any, shape: tuple[int, ...]) -> None:
    parts = {name: part for name, part in (("one", one), ("other", other)) if part is not None}

    def forward(m: Any, x: Tensor) -> Tensor:
        left = m.one(x) if one is not None else x
        return left + (m.other(x) if other is not None else x)

    _, result = fold(forward, torch.randn(shape), parts=parts)
    assert result.changed == ("parallel:add",)
    assert len(ops(result.program)) == 1


def test_a_block_of_repvgg_becomes_one_convolution(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.relu(m.bn3(m.conv3(x)) + m.bn1(m.conv1(x)) + m.bn0(x))

    parts = {
        "conv3": conv(8, 8, 3, padding=1, bias=False), "conv1": conv(8, 8, 1, bias=False),
        **{name: nn.BatchNorm2d(8) for name in ("bn0", "bn1", "bn3")},
    }  # fmt: skip
    _, result = fold(forward, torch.randn(2, 8, 6, 6), parts=parts)
    assert ops(result.program) == ["conv2d", "relu"]


def test_layers_in_a_row_are_a_side(fold: Any, ops: Any) -> None:
    """LoRA: the product alone would be larger than its factors, the sum is not."""

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.dense(x) + 2 * m.up(m.down(x))

    parts = {"dense": nn.Linear(16, 16), "down": nn.Linear(16, 2, bias=False), "up": nn.Linear(2, 16, bias=False)}
    _, result = fold(forward, torch.randn(3, 16), parts=parts)
    assert ops(result.program) == ["linear"]
    assert "parallel:add" in result.changed


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (conv(8, 8, 1, 2), conv(8, 8, 4, 2, 1), "lie differently"),
        (conv(8, 8, 3, groups=8), conv(8, 8, 1, groups=1), "lie differently"),
        (conv(8, 8, 3, padding=1, groups=8), conv(8, 8, 1), "multiply–accumulates"),
        (conv(8, 1, 1), conv(8, 8, 1), "spread"),
    ],
    ids=str,
)
def test_declined(fold: Any, reasons: Any, one: nn.Module, other: nn.Module, reason: str) -> None:
    size = 3 if isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3) and one.padding == (0, 0) else 4

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = m.one(x), m.other(x)
        return left[..., :1, :1] + right[..., :1, :1] if left.shape[2:] != right.shape[2:] else left + right

    _, result = fold(forward, torch.randn(2, 8, size, size), parts={"one": one, "other": other})
    assert not any(site.startswith("parallel") for site in result.changed)
    found = reasons(result)
    assert reason in found.get("parallel:add", reason if "lie differently" in reason else "")


def test_a_side_that_is_read_elsewhere_stays(fold: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.fc(x)
        return x + y, y.exp()

    _, result = fold(forward, torch.randn(2, 8), parts={"fc": nn.Linear(8, 8)})
    assert result.changed == ()
