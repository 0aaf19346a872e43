"""A chain says what it is: its blocks, in order, on a residual stream or not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from blocks import transformer

from compressor.graph.blocks import find_blocks


def test_chains_blocks_and_branches_are_values() -> None:
    [chain] = find_blocks(transformer(2))
    assert chain.residual
    assert chain.blocks[0].axis == 2
    with pytest.raises(FrozenInstanceError):
        chain.blocks[0].branches[0].kind = "mlp"  # type: ignore[misc]
