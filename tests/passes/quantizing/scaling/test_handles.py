"""Products put in front of layers that nothing else scales: exact, shared by those that read one value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.edit import is_call
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.scaling.handles import add_handles, drop_handles
from compressor.targets.loader import load_target

aten = torch.ops.aten


class PostNorm(nn.Module):
    """A norm that two linear layers and a residual read, with one channel far above the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 64)
        with torch.no_grad():
            self.norm.weight[3] = 60.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return x + torch.tanh(self.one(x)) * self.two(x)


def program() -> Program:
    torch.manual_seed(0)
    return capture(PostNorm().eval(), (torch.randn(2, 5, 64),)).program


def products(of: Program) -> int:
    return sum(is_call(node, aten.mul.Tensor) for node in of.graph.nodes)


def test_one_product_for_all_that_read_a_value() -> None:
    original = program()
    copy, _ = functional_copy(original)
    [handle] = add_handles(copy, ["one", "two"])
    assert len(handle.users) == 2
    batch = {original.inputs[0].name: torch.randn(3, 5, 64)}
    assert torch.equal(*(next(iter(each.run(batch).values())) for each in (original, copy)))
    drop_handles(copy, [handle])
    assert products(copy) == products(original)


def test_a_channel_above_the_others_is_scaled_down_where_a_residual_needs_it_as_it_is() -> None:
    original = program()
    batch = {original.inputs[0].name: torch.randn(16, 5, 64)}
    context = Context(load_target("x86-64"), calibration=[batch], synthetic=False)
    [wanted] = original.run(batch).values()
    errors = {}
    for equalize in ("none", "auto"):
        pass_ = Quantize(equalize=equalize, max_error=0.06, solver="nearest", bias="none")  # type: ignore[arg-type]
        done = pass_.run(original, context)
        [found] = done.program.run(batch).values()
        errors[equalize] = float((found - wanted).norm() / wanted.norm())
        again = Quantize(sites=done.settings).run(original, context)
        assert torch.equal(found, next(iter(again.program.run(batch).values())))
    assert errors["auto"] < 0.7 * errors["none"]
