"""Products with stored matrices become linears, for passes that look at layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.passes.folding.linears import to_linears
from compressor.passes.pruning.job import prepared


class Gpt2(nn.Module):
    """Hugging Face's Conv1D: weights are stored [inputs, outputs]; one of them is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8, 3))
        self.b, self.c = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(3))
        self.twice = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.c, torch.addmm(self.b, x, self.up).relu(), self.down)
        return (y @ self.twice).relu() @ self.twice


def test_products_with_a_stored_matrix_are_layers_like_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    program = capture(Gpt2(), (x,)).program
    copy = edit.begin(program)
    to_linears(copy)
    done = edit.finish(copy)
    names = [str(node.target) for node in done.nodes()]
    assert names.count("aten.linear.default") == 2
    assert names.count("aten.matmul.default") == 2, "its transpose would be stored beside it"
    torch.testing.assert_close(*(next(iter(p.run({"x": x}).values())) for p in (program, done)))


def test_prune_prepares_programs_so() -> None:
    program = prepared(capture(Gpt2(), (torch.randn(4, 6),)).program)
    assert [str(node.target) for node in program.nodes()].count("aten.linear.default") == 2
