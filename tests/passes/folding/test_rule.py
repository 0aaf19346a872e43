"""What rules may ask: who reads a tensor, what is pure, what names an output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.passes.folding import RULES
from compressor.passes.folding.rule import Bench, is_pure, program_output


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.register_buffer("row", self.a.weight.detach()[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.a(x) * self.row + 0 * torch.rand(3)
        return y.reshape(x.shape[0] * 3), torch.empty_like(x).fill_(1) + x


def test_readers_are_found_by_storage() -> None:
    bench = Bench(capture(Net(), (torch.randn(2, 3),)).program, keep=("a.bias",))
    weight = next(node for node in bench.program.graph.nodes if node.target == "a.weight")
    assert {str(node.target) for node in bench.readers(weight)} == {"aten.linear.default", "aten.mul.Tensor"}
    (linear,) = weight.users
    assert bench.kept(linear) == "a.bias"
    assert bench.kept(weight) is None


def test_purity() -> None:
    program = capture(Net(), (torch.randn(2, 3),)).program
    pure = {str(node.target): is_pure(node) for node in program.graph.nodes}
    assert pure["aten.linear.default"]
    assert pure["aten.sym_size.int"]
    assert any(pure[name] for name in pure if "operator.mul" in name or "built-in function mul" in name)
    impure = ("aten.rand.default", "aten.empty_like.default", "aten.fill_.Scalar", "a.weight", "x", "output")
    assert not any(pure.get(name, False) for name in impure)


def test_outputs_are_values_of_their_own() -> None:
    program = capture(Net(), (torch.randn(2, 3),)).program
    output = next(iter(reversed(program.graph.nodes)))
    first, second = output.all_input_nodes
    placeholder = next(iter(program.graph.find_nodes(op="placeholder")))
    assert program_output(first, second) is not None
    assert program_output(first, placeholder) is not None
    assert program_output(first.args[0], placeholder) is None


def test_rules_are_named_after_their_files() -> None:
    for rule in RULES:
        assert type(rule).__module__.rpartition(".")[2] == rule.name
    assert len({rule.name for rule in RULES}) == len(RULES)
