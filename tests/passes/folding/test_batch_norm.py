"""Batch norm into what is before or after it, on every kind of layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import relu


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(3, 4, 3, padding=1, bias=False), nn.BatchNorm1d(4), (2, 3, 8)),
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6, affine=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 8, 3, padding="same", groups=4, bias=False), nn.BatchNorm2d(8), (2, 4, 6, 6)),
        (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 2, 4, 4, 4)),
        (nn.ConvTranspose1d(3, 4, 3, bias=False), nn.BatchNorm1d(4), (2, 3, 8)),
        (nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 5)),
        (nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7), (4, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_into_the_layer_before(fold: Any, ops: Any, layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    _, result = fold(nn.Sequential(layer, norm), torch.randn(shape))
    assert result.changed == ("batch_norm:1",)
    assert "batch_norm" not in ops(result.program)
    assert set(result.program.tensors()) == {"0.weight", "0.bias"}


def test_into_the_layers_after_where_nothing_is_padded(fold: Any, ops: Any, reasons: Any) -> None:
    parts = {
        "bn": nn.BatchNorm2d(4), "a": nn.Conv2d(4, 6, 3, groups=2), "b": nn.Conv2d(4, 5, 1, bias=False),
        "padded_bn": nn.BatchNorm2d(4), "padded": nn.Conv2d(4, 4, 3, padding=1),
        "up_bn": nn.BatchNorm2d(4), "up": nn.ConvTranspose2d(4, 4, 2),
    }  # fmt: skip

    def forward(m: Any, x: torch.Tensor) -> Any:
        y = m.bn(relu(x))
        return m.a(y), m.b(y), m.padded(m.padded_bn(torch.tanh(x))), m.up(m.up_bn(torch.sigmoid(x)))

    _, result = fold(forward, torch.randn(2, 4, 8, 8), parts=parts)
    assert result.changed == ("batch_norm:bn",)
    assert ops(result.program).count("batch_norm") == 2
    assert "padding would not be shifted" in reasons(result)["batch_norm:padded_bn"]
    assert "transposed" in reasons(result)["batch_norm:up_bn"]
    assert "b.bias" in result.program.tensors()


def test_a_branch_before_the_norm_or_a_nonlinearity_on_both_sides_declines(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = m.conv(x)
        return y + relu(m.read_twice(y)) + relu(m.between(relu(x)))

    parts = {"conv": nn.Conv2d(3, 3, 1), "read_twice": nn.BatchNorm2d(3), "between": nn.BatchNorm2d(3)}
    _, result = fold(forward, torch.randn(2, 3, 4, 4), parts=parts)
    assert result.changed == ()
    assert "conv is also read elsewhere" in reasons(result)["batch_norm:read_twice"]
    assert "aten.relu" in reasons(result)["batch_norm:between"]


def test_batch_statistics_are_not_folded(fold: Any, reasons: Any) -> None:
    _, result = fold(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)), torch.randn(8, 3))
    assert "own statistics" in reasons(result)["batch_norm:1"]


def test_a_siamese_network_folds_both_runs_of_its_layer_at_once(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return relu(m.bn(m.conv(x))) - relu(m.bn(m.conv(y)))

    parts = {"conv": nn.Conv2d(3, 4, 3, bias=False), "bn": nn.BatchNorm2d(4)}
    _, result = fold(forward, torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6), parts=parts)
    assert result.changed == ("batch_norm:bn",)
    assert ops(result.program).count("batch_norm") == 0
    assert set(result.program.tensors()) == {"conv.weight", "conv.bias"}


def test_a_weight_shared_by_layers_with_different_norms_is_left_alone(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.one(m.conv(x)) * m.two(m.conv(relu(x)))

    parts = {"conv": nn.Conv2d(3, 4, 3), "one": nn.BatchNorm2d(4), "two": nn.BatchNorm2d(4)}
    _, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert result.changed == ()
    assert "conv.weight is shared" in reasons(result)["batch_norm:one"]


def test_through_layout_operators(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: torch.Tensor) -> Any:
        return m.after_flatten(m.conv(x).flatten(2)), m.after_transpose(m.linear(x[:, 0]).transpose(1, 2))

    parts = {
        "conv": nn.Conv2d(3, 4, 3), "after_flatten": nn.BatchNorm1d(4),
        "linear": nn.Linear(8, 4), "after_transpose": nn.BatchNorm1d(4),
    }  # fmt: skip
    _, result = fold(forward, torch.randn(2, 3, 8, 8), parts=parts)
    assert set(result.changed) >= {"batch_norm:after_flatten", "batch_norm:after_transpose"}
    assert "batch_norm" not in ops(result.program)


def test_kept_parameters_stay(fold: Any, reasons: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    _, result = fold(model, torch.randn(2, 3, 8, 8), keep=("0.*", "3"))
    assert "batch_norm:1" in result.changed  # into the conv after it
    assert "kept" in reasons(result)["batch_norm:3"]
    assert torch.equal(result.program.tensors()["0.weight"], model[0].weight)
