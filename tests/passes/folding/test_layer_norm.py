"""Layer norms and RMS norms lose their affine part to the linears that alone read them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class RMSNorm(nn.Module):
    """As frameworks write it, with casts."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(width) + 0.5), eps

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.to(torch.float32)
        hidden = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * hidden.to(x.dtype)


class Gemma(RMSNorm):
    """The weight is stored around zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.mean(x * x, -1, True) + self.eps) * (1.0 + self.weight)


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.RMSNorm(6), RMSNorm(6), Gemma(6)], ids=lambda n: type(n).__name__)
def test_into_all_the_linears_that_read_it(fold: Any, norm: nn.Module) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.norm(x)
        return m.q(y), m.k(y), m.v(y.transpose(0, 1)[:1])

    parts = {"norm": norm, "q": nn.Linear(6, 4), "k": nn.Linear(6, 3, bias=False), "v": nn.Linear(6, 2)}
    _, result = fold(forward, torch.randn(2, 5, 6), parts=parts)
    assert "layer_norm:norm" in result.changed
    names = set(result.program.tensors())
    assert not any(name.startswith("norm") for name in names)
    assert ("k.bias" in names) == isinstance(norm, nn.LayerNorm), "a bias appears only where there is a shift"


def test_another_reader_a_tied_weight_or_a_normalized_grid_declines(fold: Any, reasons: Any) -> None:
    def forward(m: Any, ids: Tensor) -> Any:
        x = m.table(ids)
        residual = m.residual(x)
        return residual + gelu(m.fc(residual)), m.head(m.last(x)), m.grid_fc(m.grid(x)), gelu(m.shown(x))

    table, head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
    head.weight = table.weight
    parts = {
        "table": table, "head": head, "fc": nn.Linear(6, 6), "grid_fc": nn.Linear(6, 6), "grid": nn.LayerNorm((5, 6)),
        "residual": nn.LayerNorm(6), "last": nn.LayerNorm(6), "shown": nn.LayerNorm(6),
    }  # fmt: skip
    _, result = fold(forward, torch.arange(10).reshape(2, 5), parts=parts)
    assert result.changed == ()
    assert "aten.add" in reasons(result)["layer_norm:residual"]
    assert "is shared with table" in reasons(result)["layer_norm:last"]
    assert "several dimensions" in reasons(result)["layer_norm:grid"]
    assert "aten.gelu" in reasons(result)["layer_norm:shown"]


def test_a_norm_over_another_dimension_is_not_taken_for_an_rms_norm(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6) * m.weight
        return m.fc(y.abs())

    parts = {"fc": nn.Linear(6, 6), "weight": torch.rand(6)}
    _, result = fold(forward, torch.randn(2, 5, 6), parts=parts)
    assert not any(site.startswith("layer_norm") for site in result.changed)
    assert ops(result.program).count("mul") == 2


def test_a_weight_along_another_dimension_is_no_rms_scale(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.linear(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * m.weight)

    parts = {"linear": nn.Linear(8, 4), "weight": nn.Parameter(torch.rand(8, 1) + 0.5)}
    program, result = fold(forward, torch.randn(2, 8, 8), parts=parts)
    torch.testing.assert_close(result.program.run()["output"], program.run()["output"])
