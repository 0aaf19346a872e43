"""Constant subgraphs are computed once, where storing the result costs next to nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def test_constant_subgraphs_become_stored_tensors(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        mask = torch.ones(6, 6).tril().log() + torch.tensor([0.5, 1, 2, 3, 4, 5])
        bias = m.table[m.index.reshape(-1)].view(6, 6) * 2
        return torch.relu(x + mask) + torch.tanh(x) * bias

    parts = {"table": torch.rand(9), "index": torch.randint(0, 9, (6, 6))}
    _, result = fold(forward, torch.randn(2, 6, 6), parts=parts)
    assert sorted(ops(result.program)) == ["add", "add", "mul", "relu", "tanh"]
    assert not {"table", "index"} & set(result.program.tensors())
    parameters = dict(result.program.module.named_parameters())
    assert len(parameters) == 1, "what was made of a parameter is one, a mask is a buffer"


def test_a_transposed_weight_takes_the_place_of_the_weight(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return linear(x, m.weight.t())

    program, result = fold(forward, torch.randn(2, 300), parts={"weight": torch.randn(300, 200)})
    assert ops(result.program) == ["linear"]
    assert result.program.unique_bytes() == program.unique_bytes()


def test_what_would_make_the_file_larger_stays(fold: Any, reasons: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        tied = linear(m.table(x), m.table.weight.t().contiguous().t())
        return tied, torch.relu(x.sum() + torch.arange(300)[:, None] * torch.arange(300))

    _, result = fold(forward, torch.arange(6).reshape(2, 3), parts={"table": nn.Embedding(300, 80)})
    assert {"t", "arange"} <= set(ops(result.program))
    assert sum("bytes" in reason for reason in reasons(result).values()) == 2


def test_random_numbers_outputs_and_sizes_are_not_constants(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return x + torch.rand(3).mul(0) + torch.arange(x.shape[0])[:, None], torch.arange(4)

    _, result = fold(forward, torch.randn(2, 3))
    assert {"rand", "arange"} <= set(ops(result.program))
    assert ops(result.program).count("arange") == 2


def test_kept_tensors_are_not_folded_away(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return x * m.scale.exp()

    _, result = fold(forward, torch.randn(2, 3), parts={"scale": torch.rand(3)}, keep=("scale",))
    assert "kept as asked" in reasons(result).values()
