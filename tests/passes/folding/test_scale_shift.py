"""Constants into neighbouring layers, in every spelling of the four operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from compressor.passes.folding.scale_shift import ScaleShift

ARITHMETIC = {"mul", "div", "add", "sub", "rsub", "neg"}


def arithmetic(names: list[str]) -> list[str]:
    return [name for name in names if name in ARITHMETIC]


def test_numbers_after_a_conv(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        a = torch.add(m.a(x) * 2.0, 3, alpha=2) / 4
        b = 1 - torch.sub(m.b(x), 0.5, alpha=3)
        return relu(a), relu(-b), relu(torch.rsub(m.c(x), 2.0, alpha=0.5))

    parts = {"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(3, 4, 3, bias=False), "c": nn.Linear(6, 5)}
    program, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert len(arithmetic(ops(program))) == 7
    assert arithmetic(ops(result.program)) == []


def test_a_shift_counts_as_often_as_alpha_says(fold: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.add(m.conv(x), m.shift, alpha=0) + torch.sub(m.other(x), m.shift, alpha=3)

    parts = {"conv": nn.Conv2d(3, 4, 3), "other": nn.Conv2d(3, 4, 3), "shift": torch.randn(4, 1, 1)}
    program, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert result.changed
    torch.testing.assert_close(result.program.run()["output"], program.run()["output"])


def test_a_vector_over_the_channels(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.g1 * m.conv(x) + m.g2
        z = m.up(relu(y)) / m.g1
        return z, m.fc(x.flatten(1)) * m.g3 - m.g3, m.g1 - m.grouped(relu(y))

    parts = {
        "conv": nn.Conv2d(3, 4, 3, padding=1), "up": nn.ConvTranspose2d(4, 4, 2, groups=2), "fc": nn.Linear(108, 5),
        "grouped": nn.Conv2d(4, 4, 1, groups=4), "g1": torch.rand(4, 1, 1) + 0.5, "g2": torch.rand(1, 4, 1, 1),
        "g3": torch.rand(5) + 0.5,
    }  # fmt: skip
    _, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert arithmetic(ops(result.program)) == []
    assert {"scale_shift:g1", "scale_shift:g2", "scale_shift:g3"} <= set(result.changed)


def test_normalization_before_the_first_layer(fold: Any, ops: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return m.conv((x - m.mean) / m.std), m.padded((x - 0.25) / 2)

    parts = {
        "conv": nn.Conv2d(3, 4, 3), "padded": nn.Conv2d(3, 4, 3, padding=1),
        "mean": torch.rand(3, 1, 1), "std": torch.rand(3, 1, 1) + 0.5,
    }  # fmt: skip
    _, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert arithmetic(ops(result.program)) == ["sub"], "a factor moves into a padded conv, a shift does not"
    assert any("padding would not be shifted" in reason for reason in reasons(result).values())


def test_a_scalar_passes_through_views_and_matrix_products(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        q, k = (part(x).view(2, 5, 2, 4).transpose(1, 2) for part in (m.q, m.k))
        return (q @ k.transpose(-2, -1) * 0.5).softmax(-1), m.v(x).reshape(2, 5, 4, 2) * 3

    parts = {"q": nn.Linear(8, 8), "k": nn.Linear(8, 8), "v": nn.Linear(8, 8)}
    _, result = fold(forward, torch.randn(2, 5, 8), parts=parts)
    assert arithmetic(ops(result.program)) == []


def test_a_square_is_not_scaled_twice(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        return relu(y @ y * 3.0)

    _, result = fold(forward, torch.randn(4, 4), parts={"a": nn.Linear(4, 4)})
    assert "mul" in ops(result.program)


def test_what_is_not_per_channel_stays(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.conv(x)
        return relu(y * m.columns), relu(m.other(x) + m.table), relu(m.third(x) * m.broadcast)

    conv = {name: nn.Conv2d(3, 4, 1) for name in ("conv", "other", "third")}
    tables = {"columns": torch.rand(4), "table": torch.rand(4, 4, 4), "broadcast": torch.rand(2, 1, 4, 1, 1)}
    _, result = fold(forward, torch.randn(2, 3, 4, 4), parts=conv | tables)
    assert arithmetic(ops(result.program)) == ["mul", "add", "mul"]


def test_integers_and_infinities_are_not_folded(fold: Any, ops: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.clamp(m.conv(x) * float("inf"), -1, 1)

    _, result = fold(forward, torch.rand(2, 3, 4, 4) + 1, parts={"conv": nn.Conv2d(3, 4, 1)})
    assert "not finite" in reasons(result)["scale_shift:mul"]


def test_half_precision_weights_are_not_rounded_again(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.fc(x.to(torch.bfloat16)) * 3

    _, result = fold(forward, torch.randn(2, 3), parts={"fc": nn.Linear(3, 4).to(torch.bfloat16)})
    assert "round it again" in reasons(result)["scale_shift:mul"]


def test_its_name_is_the_settings_word() -> None:
    assert ScaleShift().name == "scale_shift"
