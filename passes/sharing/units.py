"""What can share weights: the blocks of a chain, or of each its mixers or its MLPs alone.

A unit's `shared` parameters are its matrices and kernels; norms, biases, scales and small tables stay its own, as in
WideNet (Xue et al., 2022, Go Wider Instead of Deeper, arXiv:2107.11817): they cost next to nothing, and let each block
of a group read and write the stream in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx

from compressor.graph.blocks import Block, Chain, find_blocks
from compressor.graph.contract import Skip
from compressor.graph.edit import attribute, is_kept
from compressor.graph.program import Program

__all__ = ["NO_BLOCKS", "Norms", "Part", "Unit", "find_units"]

Part = Literal["block", "mlp", "mixer"]
Norms = Literal["own", "shared"]
SMALL = 0.01  # of a unit's bytes: what is below stays its own
NO_BLOCKS = "the program", "it has no repeated blocks"


@dataclass(frozen=True)
class Unit:
    """A block's share in a group. `shared` are names in an order that corresponds between the units of a chain."""

    name: str
    block: Block
    nodes: tuple[fx.Node, ...]
    shared: tuple[str, ...]


def find_units(program: Program, part: Part, norms: Norms, keep: Sequence[str]) -> tuple[list[list[Unit]], list[Skip]]:
    """The units of every chain of two blocks and more, and what was left alone, with the reason.

    The program is without in-place operators.
    """
    found: list[list[Unit]] = []
    skips: list[Skip] = []
    for chain in find_blocks(program):
        if len(chain.blocks) < 2:
            skips.append(Skip(chain.blocks[0].name, "no neighbour is like it"))
            continue
        units = _units(program, chain, part, norms)
        if not units[0].shared:
            skips += [Skip(unit.name, _nothing(part)) for unit in units]
            continue
        kept = [unit for unit in units if any(is_kept(name, keep) for name in _names(unit))]
        skips += [Skip(unit.name, "kept, as asked") for unit in kept]
        found.append([unit for unit in units if unit not in kept])
    if not found and not skips:
        skips.append(Skip(*NO_BLOCKS))
    return found, skips


def _names(unit: Unit) -> list[str]:
    """Those by which a user may ask to keep it."""
    return [unit.name, unit.block.name, *unit.shared, *(name.rpartition(".")[0] for name in unit.shared)]


def _units(program: Program, chain: Chain, part: Part, norms: Norms) -> list[Unit]:
    pieces = [_piece(block, part) for block in chain.blocks]
    columns = zip(*(names for _, names in pieces), strict=True)
    chosen = [place for place, names in enumerate(columns) if _is_shared(program, names, pieces, norms)]
    return [
        Unit(block.name if part == "block" else f"{block.name}:{part}", block, nodes, tuple(names[i] for i in chosen))
        for block, (nodes, names) in zip(chain.blocks, pieces, strict=True)
    ]


def _piece(block: Block, part: Part) -> tuple[tuple[fx.Node, ...], tuple[str, ...]]:
    """The nodes and parameters of a block, or of its branches of one kind."""
    if part == "block":
        return block.nodes, block.parameters
    branches = [branch for branch in block.branches if branch.kind == part]
    nodes = tuple(node for branch in branches for node in branch.nodes)
    return nodes, tuple(name for branch in branches for name in branch.parameters)


def _is_shared(
    program: Program, names: Sequence[str], pieces: Sequence[tuple[tuple[fx.Node, ...], tuple[str, ...]]], norms: Norms
) -> bool:
    """Whether the parameters in one place of all units become one: large enough, and nobody else's."""
    inside = {node for nodes, _ in pieces for node in nodes}
    readers = {user for name in names for node in _stored(program, name) for user in node.users}
    if not readers <= inside:
        return False
    if norms == "shared":
        return True
    value: Tensor = program.get(names[0])
    whole = sum(program.get(name).numel() for name in dict.fromkeys(pieces[0][1]))
    return sum(size > 1 for size in value.shape) > 1 and bool(value.numel() >= SMALL * whole)


def _stored(program: Program, name: str) -> list[fx.Node]:
    return [node for node in program.graph.find_nodes(op="get_attr") if attribute(node) == name]


def _nothing(part: Part) -> str:
    return {"mlp": "it has no MLP with weights of its own", "mixer": "it has no mixer with weights of its own"}.get(
        part, "its weights are small, or others read them, too"
    )
