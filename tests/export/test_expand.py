from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.export.expand import expand
from compressor.graph.capture import capture
from compressor.graph.program import Program

aten = torch.ops.aten


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.aminmax(self.norm(x), dim=1)
        return torch.nn.functional.hardswish(x).flatten(0, 1), low + high + torch.eye(6)[0]


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Layers(), (torch.randn(3, 4, 6),)).program


def targets(program: Program) -> set[object]:
    return {node.target for node in program.nodes()}


def test_only_what_needs_it_is_decomposed_and_it_computes_the_same(program: Program) -> None:
    wanted = {aten.layer_norm.default, aten.hardswish.default, aten.eye.default}
    table = torch._decomp.get_decompositions([aten.hardswish.default, aten.eye.default])
    before = program.hash()
    expanded = expand(program, lambda node: node.target in wanted, table)
    assert not wanted & targets(expanded)
    assert aten.aminmax.default in targets(expanded)
    assert program.hash() == before
    for batch in (program.example, [torch.randn(5, 2, 6)]):
        torch.testing.assert_close(expanded.run(batch), program.run(batch))


def test_new_nodes_carry_value_and_layer(program: Program) -> None:
    expanded = expand(program, lambda node: node.target is aten.layer_norm.default, {})
    new = [node for node in expanded.nodes() if node.target is aten.native_layer_norm.default]
    assert len(new) == 1
    assert "norm" in str(new[0].meta["nn_module_stack"])
    assert all("val" in node.meta for node in expanded.nodes())


def test_several_results_are_wired_one_by_one(program: Program) -> None:
    def aminmax(x: Tensor, *, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        return torch.amin(x, dim, keepdim), torch.amax(x, dim, keepdim)

    expanded = expand(program, lambda node: node.target is aten.aminmax.default, {aten.aminmax.default: aminmax})
    assert {aten.amin.default, aten.amax.default} <= targets(expanded)
    torch.testing.assert_close(expanded.run(), program.run())


def test_a_decomposition_that_makes_constants_is_refused(program: Program) -> None:
    constant = torch.ones(())
    table = {aten.hardswish.default: lambda x: x + constant}
    with pytest.raises(ValueError, match="constants"):
        expand(program, lambda node: node.target is aten.hardswish.default, table)
