"""The graph without some parts, in any combination."""

from __future__ import annotations

import torch
from blocks import transformer

from compressor.graph.edit import finish
from compressor.passes.dropping.bypass import ends_of, without
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
