"""The graph without some parts, in any combination."""

from __future__ import annotations

import torch
from blocks import Attention, Stack, captured, transformer
from torch import Tensor, nn

from compressor.graph.edit import finish
from compressor.passes.dropping.bypass import ends_of, sum_of, without
from compressor.passes.dropping.candidates import candidates_of


def test_both_branches_of_a_block_are_the_block() -> None:
    program = transformer(3)
    blocks, branches = (candidates_of(program, unit)[0] for unit in ("block", "any"))  # type: ignore[arg-type]
    one, two = finish(without(program, [blocks[1]])), finish(without(program, branches[2:4]))
    assert one.hash() == two.hash()


def test_blocks_in_a_row_are_read_past() -> None:
    program = transformer(4)
    blocks, _ = candidates_of(program, "block")
    smaller = finish(without(program, [blocks[2], blocks[1]]))
    [value] = smaller.run().values()
    assert torch.isfinite(value).all()
    assert {name.split(".")[1] for name in smaller.tensors() if name.startswith("layers.")} == {"0", "3"}
    [(site, behind, name)] = ends_of(program, smaller, [blocks[2], blocks[1]])
    assert (site, behind, name) == ("layers.2", blocks[2].block.exit, blocks[0].block.exit.name)


def test_the_original_is_left_alone() -> None:
    program = transformer(3)
    before = program.hash()
    without(program, candidates_of(program, "block")[0][:2])
    assert program.hash() == before


class Parallel(nn.Module):
    """Branches are added to each other before the stream is, as in GPT-J."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), Attention(8)
        self.mlp, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return self.attention(y) + self.mlp(y) + self.gate(y).tanh() + x


def test_branches_that_are_summed_before_the_stream_go_together() -> None:
    torch.manual_seed(0)
    program = captured(Stack([Parallel() for _ in range(3)], 8), torch.randn(2, 6, 5))
    [block, *_], branches = candidates_of(program, "block")[0], candidates_of(program, "any")[0][:3]
    assert [each.site.removeprefix("layers.0.") for each in branches] == ["mixer", "mlp", "mlp.1"]
    smaller = finish(without(program, branches))
    assert smaller.hash() == finish(without(program, [block])).hash()
    assert ends_of(program, smaller, branches) == [("layers.0.mlp.1", block.block.exit, block.block.entry.name)]


def test_a_term_of_a_sum_of_branches_goes_alone() -> None:
    torch.manual_seed(0)
    net = Stack([Parallel() for _ in range(2)], 8)
    program = captured(net, torch.randn(2, 6, 5))
    branches = candidates_of(program, "any")[0][:3]
    for left, gone in ((2, branches[:2]), (0, branches[1:3]), (1, [branches[0], branches[2]])):
        smaller = finish(without(program, gone))
        read = {name.split(".")[2] for name in smaller.tensors() if name.startswith("layers.0.")}
        assert read == {"norm", ("attention", "mlp", "gate")[left]}
    first = branches[0]
    assert first.branch is not None
    assert sum_of(first.block.nodes, first.branch).all_input_nodes[0] is first.branch.exit


def test_blocks_between_views_can_go() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Attention(8), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = (x + self.one(x)).transpose(1, 2)
            return (x + self.two(x).tanh()).transpose(1, 2)

    program = captured(nn.Sequential(nn.Linear(5, 8), Turned(), Turned(), nn.Linear(8, 3)), torch.randn(2, 6, 5))
    blocks, _ = candidates_of(program, "block")
    assert [each.site for each in blocks] == ["1.one", "1.two", "2.one", "2.two"]
    for each in blocks:
        [value] = finish(without(program, [each])).run().values()
        assert value.shape == (2, 6, 3)
