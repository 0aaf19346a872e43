"""Products with stored matrices become linears, on the shape that was flattened for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def test_addmm_between_views_is_one_linear(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return torch.addmm(m.bias, x.view(-1, width), m.weight).view(batch, length, 6).relu()

    program, result = fold(forward, torch.randn(2, 5, 4), parts={"weight": torch.randn(4, 6), "bias": torch.randn(6)})
    assert [name for name in ops(result.program) if name != "sym_size"] == ["linear", "relu"]
    assert result.program.tensors()["weight"].shape == (6, 4)
    assert program.tensors()["weight"].shape == (4, 6)


def test_matmul_and_mm(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return x @ m.a, torch.mm(x[0], m.b), x[0, 0] @ m.c

    parts = {name: torch.randn(4, 6) for name in "abc"}
    _, result = fold(forward, torch.randn(2, 5, 4), parts=parts)
    assert ops(result.program).count("linear") == 3


def test_scaled_addmm_shared_and_batched_matrices_stay(fold: Any, ops: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        scaled = torch.addmm(m.bias, x[0], m.a, beta=0.5)
        return scaled, x @ m.b, x.tanh() @ m.b, x @ m.batched, torch.addmm(m.full, x[0], m.c)

    parts = {"a": torch.randn(4, 6), "b": torch.randn(4, 6), "bias": torch.randn(6), "batched": torch.randn(2, 4, 6)}
    _, result = fold(forward, torch.randn(2, 5, 4), parts=parts | {"full": torch.randn(5, 6), "c": torch.randn(4, 6)})
    assert "linear" not in ops(result.program)
    assert any("read elsewhere" in reason for reason in reasons(result).values())


def test_a_linear_on_rows_stays_where_the_shape_is_another_one_after_it(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x.reshape(-1, 4), m.weight).reshape(5, -1, 6)

    _, result = fold(forward, torch.randn(2, 5, 4), parts={"weight": torch.randn(6, 4)})
    assert ops(result.program).count("reshape") == 2
