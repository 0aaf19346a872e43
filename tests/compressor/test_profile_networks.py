"""Programs to time are what the compiler's own passes make of a module."""

from __future__ import annotations

import pytest
import torch

from compressor.devices.latency.networks import network
from compressor.profile_networks import How, captured
from compressor.targets import load_target


@pytest.mark.parametrize(
    ("style", "how", "operator"),
    [("residual", "int8", "quantize"), ("encoder", "int4", "linear_blocks"), ("inverted", "pruned", "conv2d")],
)
def test_each_format_is_made_by_its_pass(style: str, how: How, operator: str) -> None:
    drawn = network(style, 3)
    plain = captured(drawn.module, drawn.example, {}, "plain", 0, load_target("host"))
    made = captured(drawn.module, drawn.example, {}, how, 0, load_target("host"))
    assert any(operator in str(node.target) for node in made.graph.nodes)
    assert made.unique_bytes() < plain.unique_bytes()
    with torch.no_grad():
        outputs = made.run()
    assert all(output.isfinite().all() for output in outputs.values())
