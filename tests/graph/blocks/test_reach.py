"""What depends on what: through tensors, not through their sizes."""

from __future__ import annotations

import torch
from blocks import captured
from torch import Tensor, fx, nn

from compressor.graph.blocks.reach import Reach, is_value
from compressor.graph.program import Program


class Net(nn.Module):
    """A table cut to the input's length is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(20, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        places = self.table(torch.arange(x.shape[1]))
        return self.linear(x + places.expand_as(x)).relu()


def parts() -> tuple[Program, Reach, dict[str, fx.Node]]:
    program = captured(Net(), torch.randn(2, 6, 4))
    names = {str(node.target).split(".")[1]: node for node in program.nodes() if str(node.target).startswith("aten.")}
    return program, Reach(program), names


def test_a_table_cut_to_a_length_does_not_depend_on_the_values() -> None:
    program, reach, nodes = parts()
    [x] = program.graph.find_nodes(op="placeholder")
    assert not reach.depends(nodes["expand_as"], x)
    assert reach.depends(nodes["relu"], x)
    assert reach.depends(x, x)
    assert reach.depends_on_any(nodes["relu"], [nodes["embedding"]])


def test_between_holds_what_one_is_computed_of_and_the_other_needs() -> None:
    program, reach, nodes = parts()
    [x] = program.graph.find_nodes(op="placeholder")
    assert reach.between(x, nodes["relu"]) == [nodes["add"], nodes["linear"], nodes["relu"]]
    assert reach.between(nodes["relu"], nodes["add"]) == []


def test_constants_are_computed_of_stored_tensors_alone() -> None:
    program, reach, nodes = parts()
    weights = program.graph.find_nodes(op="get_attr")
    assert all(reach.is_constant(node) for node in weights)
    assert not reach.is_constant(nodes["linear"])
    assert not reach.is_constant(nodes["embedding"])  # its length is the input's
    assert not any(is_value(node) for node in program.graph.nodes if "sym_size" in str(node.target))


def test_owned_adds_the_weights_that_only_these_read() -> None:
    _, reach, nodes = parts()
    names = {str(n.target) for n in reach.owned([nodes["linear"]]) if n.op == "get_attr"}
    assert names == {"linear.weight", "linear.bias"}
