"""Activations are found between layers; what gates, or stands elsewhere, is named with the reason."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from compressor.graph.capture import capture
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.activations import find_links


class Many(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("a", "b", "c", "d", "gate", "value", "e", "f"):
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Any:
        m: Any = self
        x = m.b(F.gelu(m.a(x)))
        x = m.c(x)
        x = m.value(x) * F.silu(m.gate(x))
        y = torch.relu(m.d(x))
        return m.e(torch.tanh(x + y)).softmax(-1), m.f(F.hardswish(m.f(x))).relu()


def test_links_and_reasons() -> None:
    program = capture(Many().eval(), (torch.randn(2, 4),)).program
    links, skipped = find_links(Bench(program))
    found = [(x.first.name, x.second.name, x.activation.name if x.activation else None) for x in links]
    assert found == [("a", "b", "a"), ("b", "c", None), ("f", "f", "f")]
    reasons = {skip.site: skip.reason for skip in skipped}
    assert "gate" in reasons["gate"]
    assert "not read by one layer" in reasons["d"]
    assert "not the output of one layer" in reasons["add"]
    assert "not read by one layer" in reasons["f#1"]
    assert len(reasons) == 4
