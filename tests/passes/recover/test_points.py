"""Points are block ends, found without knowing architectures, and matched by name or depth."""

from __future__ import annotations

import pytest
import torch
from classics import ResNet50
from recovery import digits_program, vit
from torch import nn

from compressor.graph.blocks import find_blocks
from compressor.graph.capture import capture
from compressor.passes.recover.points import attention_of, blocks_of, matched


def test_blocks_are_what_repeats() -> None:
    found = blocks_of(vit(4))
    assert list(found) == ["1.0", "1.1", "1.2", "1.3"]
    assert all(str(node.target) == "aten.add.Tensor" for node in found.values())
    assert list(blocks_of(digits_program())) == ["first", "second"]


def test_without_blocks_layers_are_points() -> None:
    program = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)),
                      (torch.randn(2, 4),)).program  # fmt: skip
    assert list(blocks_of(program)) == ["0", "2"], "the last layer is an output"


def test_points_are_at_blocks_that_cannot_be_dropped_too() -> None:
    """Why points have a rule of their own: stages of a residual net begin with a block of another width."""
    program = capture(ResNet50(), (torch.randn(1, 3, 64, 64),)).program
    droppable = {block.name for chain in find_blocks(program) for block in chain.blocks}
    points = set(blocks_of(program))
    assert points - droppable == {"blocks.0", "blocks.3", "blocks.7", "blocks.13"}
    assert droppable < points


def test_attention_is_found_by_its_module() -> None:
    assert list(attention_of(vit(3))) == ["1.0", "1.1", "1.2"]


def test_names_match_where_they_can() -> None:
    pairs = matched(blocks_of(vit(4, 8)), blocks_of(vit(4)))
    assert [pair.name for pair in pairs] == ["1.0", "1.1", "1.2", "1.3"]
    assert all(pair.alike for pair in pairs)
    assert {pair.axes for pair in pairs} == {(2, 2)}


def test_others_match_by_relative_depth() -> None:
    theirs = blocks_of(vit(6))
    ours = {f"stage{i}": node for i, node in enumerate(blocks_of(vit(3)).values())}
    assert [pair.name for pair in matched(ours, theirs)] == ["stage0 ~ 1.1", "stage1 ~ 1.3", "stage2 ~ 1.5"]
    assert not any(pair.alike for pair in matched(ours, theirs))


@pytest.mark.parametrize(("most", "expected"), [(1, ["1.3"]), (2, ["1.1", "1.3"]), (9, ["1.0", "1.1", "1.2", "1.3"])])
def test_no_more_points_than_wanted_and_the_last_among_them(most: int, expected: list[str]) -> None:
    blocks = blocks_of(vit(4))
    assert [pair.name for pair in matched(blocks, blocks, most)] == expected


def test_features_lie_second_behind_convolutions() -> None:
    blocks = blocks_of(digits_program())
    assert {pair.axes for pair in matched(blocks, blocks)} == {(1, 1)}


def test_nothing_matches_nothing() -> None:
    assert matched({}, blocks_of(vit(2))) == []
    assert matched(blocks_of(vit(2)), {}) == []
