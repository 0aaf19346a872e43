"""What does nothing goes, what only looks like it stays; chains of layout operators shrink to one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, dropout, interpolate, max_pool2d, pad


def test_everything_that_returns_its_input_goes(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.relu(x)
        y = m.dropout(dropout(y, 0.5, False))
        y = (y + 0) * 1.0 - 0
        y = (0 + 1 * y / 1 + m.zeros) * m.ones
        y = y.to(torch.float32).contiguous().clone().detach().to("cpu")
        y = y.view(y.shape).expand(-1, -1, -1, -1)[:, :].permute(0, 1, 2, 3)
        y = pad(max_pool2d(avg_pool2d(y, 1), 1), [0, 0, 0, 0])
        y = interpolate(adaptive_avg_pool2d(y, (6, 6)), size=(6, 6))
        y = torch.cat([y]).repeat(1, 1, 1, 1) ** 1
        return torch.tanh(y)

    parts = {"dropout": nn.Dropout(0.3), "zeros": torch.zeros(3, 1, 1), "ones": torch.ones(1)}
    program, result = fold(forward, torch.randn(2, 3, 6, 6), parts=parts)
    assert len(ops(program)) > 20
    assert ops(result.program) == ["relu", "tanh"]
    assert result.program.tensors() == {}


def test_layout_chains_become_one_operator(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        back = torch.relu(x).permute(0, 2, 3, 1).permute(0, 3, 1, 2)
        turned = torch.tanh(x).permute(0, 2, 3, 1).transpose(1, 2)
        flat = torch.abs(x).flatten(2).unsqueeze(1).reshape(x.shape[0], -1)
        same = torch.neg(x).unsqueeze(0).squeeze(0).flatten(1).unflatten(1, (3, 6, 6))
        return back.sin(), turned.cos(), flat.exp(), same.sqrt()

    _, result = fold(forward, torch.randn(2, 3, 6, 6))
    layout = [name for name in ops(result.program) if name in {"permute", "transpose", "reshape", "view", "flatten"}]
    assert layout == ["permute", "reshape"]


def test_what_changes_type_shape_layout_or_value_stays(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        cast = x.to(torch.float64)
        promoted = m.integers + 0.0
        widened = m.ones + x[:1, :1]
        pooled = max_pool2d(x, 3, 1, 1)
        viewed = x.transpose(1, 2).contiguous().view(-1)
        return cast, promoted * x.sum(), widened, pooled, viewed, x + 1e-30

    parts = {"integers": torch.arange(3), "ones": torch.zeros(4, 4)}
    _, result = fold(forward, torch.randn(2, 3, 4, 4), parts=parts)
    assert {"to", "max_pool2d", "contiguous", "add"} <= set(ops(result.program))


def test_what_moves_values_within_the_same_shape_stays(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        shifted = pad(x, [0, 0, 1, -1])  # ZeroPad2d((0, 0, 1, -1)): RWKV's time shift
        stretched = interpolate(x, scale_factor=1.01, mode="bilinear")
        halved = avg_pool2d(x, 1, 1, divisor_override=2)
        doubled = torch.add(m.zeros, x, alpha=2)
        return shifted.sin(), stretched.cos(), halved.exp(), doubled.tanh()

    _, result = fold(forward, torch.randn(2, 3, 4, 4), parts={"zeros": torch.zeros(4)})
    assert len(ops(result.program)) == 8


def test_an_output_stays_a_value_of_its_own(fold: Any, ops: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = torch.relu(x)
        return x + 0, y, y * 1

    _, result = fold(forward, torch.randn(2, 3))
    assert result.changed == ()
    assert "names an output" in reasons(result)["identities:add"]


def test_a_neutral_weight_is_seen_through_only_while_it_is_neutral(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.relu(torch.tanh(x) * m.almost)

    almost = torch.ones(3)
    almost[1] = 1.0001
    _, result = fold(forward, torch.randn(2, 3), parts={"almost": almost})
    assert "mul" in ops(result.program)
