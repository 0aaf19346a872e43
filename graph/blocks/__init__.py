"""The blocks that a network repeats, read off its graph."""

from compressor.graph.blocks.chain import Block, Branch, Chain, Kind
from compressor.graph.blocks.find import find_blocks

__all__ = ["Block", "Branch", "Chain", "Kind", "find_blocks"]
