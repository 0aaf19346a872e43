"""What could be dropped: whole blocks, their mixers, their MLPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import fx

from compressor.graph.blocks import Block, Branch, find_blocks
from compressor.graph.contract import Skip
from compressor.graph.edit import attribute, is_kept
from compressor.graph.kv_cache import PRESENT
from compressor.graph.program import Program

__all__ = ["Candidate", "Unit", "candidates_of"]

Unit = Literal["block", "mixer", "mlp", "any"]


@dataclass(frozen=True)
class Candidate:
    """A block, or one branch of it. `site` is its name: "layers.3", "layers.3.mixer"."""

    site: str
    unit: str
    block: Block
    branch: Branch | None = None

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        return self.block.nodes if self.branch is None else self.branch.nodes

    @property
    def parameters(self) -> tuple[str, ...]:
        """Stored tensors that go with it: no other node reads them."""
        names = (attribute(node) for node in self.nodes)
        return tuple(name for name in names if name is not None)

    @property
    def gone(self) -> tuple[str, ...]:
        """What is missing without it, as users know it: its own parameters, or where it has none, itself."""
        return self.parameters or (self.site,)

    @property
    def read(self) -> tuple[str, ...]:
        """Stored tensors that it computes with, those that others read, too, among them."""
        return self.block.parameters if self.branch is None else self.branch.parameters

    def overlaps(self, other: Candidate) -> bool:
        """Whether dropping one drops the other, or a part of it."""
        same = self.block is other.block
        return same and (self.branch is None or other.branch is None or self.branch is other.branch)


def candidates_of(program: Program, unit: Unit, keep: Sequence[str] = ()) -> tuple[list[Candidate], list[Skip]]:
    """Everything of a unit ("any": each branch for itself), and what has to stay, with the reason."""
    blocks = [block for chain in find_blocks(program) for block in chain.blocks]
    found = [candidate for block in blocks for candidate in _of(block, unit)]
    reasons = [(candidate, _reason(program, candidate, keep)) for candidate in found]
    return (
        [candidate for candidate, reason in reasons if reason is None],
        [Skip(candidate.site, reason) for candidate, reason in reasons if reason is not None],
    )


def _of(block: Block, unit: Unit) -> Iterable[Candidate]:
    if unit == "block":
        yield Candidate(block.name, "block", block)
        return
    counts: Counter[str] = Counter()
    for branch in block.branches:
        number = f".{counts[branch.kind]}" if counts[branch.kind] else ""
        counts[branch.kind] += 1
        if unit in ("any", branch.kind):
            yield Candidate(f"{block.name}.{branch.kind}{number}", branch.kind, block, branch)


def _reason(program: Program, candidate: Candidate, keep: Sequence[str]) -> str | None:
    """Why it cannot go, or None."""
    layers = (name.rpartition(".")[0] for name in candidate.read)
    names = (candidate.site, candidate.block.name, *candidate.parameters, *candidate.read, *layers)
    if any(is_kept(name, keep) for name in names):
        return "you asked to keep it"
    results = dict(zip(program.graph.output_node().args[0], program.outputs, strict=True))  # type: ignore[arg-type]
    read = [results[node].name for node in candidate.nodes if node in results and node is not candidate.block.exit]
    if others := [name for name in read if not name.startswith(f"{PRESENT}.")]:
        return f"the output {others[0]!r} is computed inside of it"
    return None
