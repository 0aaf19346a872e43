"""What follows a product goes into it, and the result stays what it was, where nothing else reads what is between."""

from __future__ import annotations

import pytest
import torch
from quantized import quantized
from torch import nn

from compressor.export.channels_last import channels_last
from compressor.export.epilogues import with_epilogues
from compressor.export.float_layers import in_layers
from compressor.graph.capture import capture
from compressor.graph.edit import argument, finish
from compressor.graph.program import Program

ops = torch.ops.compressor
IMAGE = torch.randn(2, 4, 6, 6)


class Then(nn.Module):
    def __init__(self, what) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.one, self.what = nn.Conv2d(4, 4, 3, padding=1), what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.what(x, self.one(x))


def _given(what) -> Program:  # type: ignore[no-untyped-def]
    return channels_last(in_layers(capture(Then(what).eval(), (IMAGE,)).program))


def _product(program: Program) -> torch.fx.Node:
    return next(node for node in program.nodes() if node.target is ops.conv_last.default)


def _agree(one: Program, two: Program) -> None:
    torch.testing.assert_close(one.run()["output"], two.run()["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("what", "residual", "bounds"),
    [
        (lambda x, y: torch.relu(y), False, (0.0, None)),
        (lambda x, y: nn.functional.relu6(y), False, (0.0, 6.0)),
        (lambda x, y: y.clamp(max=1.5), False, (None, 1.5)),
        (lambda x, y: y + x, True, (None, None)),
        (lambda x, y: torch.relu(x + y), True, (0.0, None)),
        (lambda x, y: torch.relu(y) + x, False, (0.0, None)),
        (lambda x, y: torch.relu(y).clamp(-1, 1), False, (0.0, None)),
    ],
)
def test_what_follows_is_inside(what, residual: bool, bounds: tuple[float | None, float | None]) -> None:  # type: ignore[no-untyped-def]
    given = _given(what)
    found = with_epilogues(given)
    product = _product(found)
    assert (argument(product, "residual") is not None) == residual
    assert (argument(product, "low"), argument(product, "high")) == bounds
    _agree(found, given)


@pytest.mark.parametrize(
    "what",
    [
        lambda x, y: y + y,
        lambda x, y: torch.add(y, x, alpha=2),
        lambda x, y: torch.relu(y) * y,
        lambda x, y: y + x.mean((2, 3), True),
        lambda x, y: torch.sigmoid(y),
    ],
)
def test_what_is_read_twice_or_is_something_else_stays(what) -> None:  # type: ignore[no-untyped-def]
    given = _given(what)
    assert with_epilogues(given) is given


def test_codes_are_what_the_product_gives() -> None:
    given = _given(lambda x, y: torch.relu(y)).copy()
    [output] = [node for node in given.graph.nodes if node.op == "output"]
    [result] = output.all_input_nodes
    relu = next(node for node in given.nodes() if node.target is torch.ops.aten.relu.default)
    codes = quantized(given, relu, before=result)
    result.replace_input_with(relu, codes)
    given = finish(given)
    found = with_epilogues(given)
    assert argument(_product(found), "codes") is not None
    assert ops.quantize.default not in {node.target for node in found.nodes()}
    assert torch.equal(found.run()["output"], given.run()["output"])
