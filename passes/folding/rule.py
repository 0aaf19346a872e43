"""What a folding rule is, and what it may ask about the graph that it rewrites."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import fx

from compressor.graph import edit
from compressor.graph.program import Program

if TYPE_CHECKING:
    from compressor.graph.cost import LatencyModel
    from compressor.targets import Target

__all__ = ["Bench", "Rule", "is_pure", "program_output"]

_EFFECTS = {torch.Tag.nondeterministic_seeded, torch.Tag.maybe_aliasing_or_mutating}


@dataclass
class Bench:
    """The copy being rewritten, with what the user asked to keep.

    `allowance` is how many bytes folded constants may still add to the file. `latency` predicts what runs faster on
    `target`, where both are known; `slower` remembers what was predicted to be slower, and how much. `thin` has the
    weights of layers that a pass before made several on purpose, and the weight that each is of.
    """

    program: Program
    keep: tuple[str, ...] = ()
    allowance: int = 0
    latency: LatencyModel | None = None
    target: Target | None = None
    slower: dict[object, str] = field(default_factory=dict)
    thin: Mapping[str, str] = field(default_factory=dict)

    def kept(self, *nodes: fx.Node) -> str | None:
        """The first tensor that these nodes read and the user asked to leave alone."""
        names = (edit.attribute(source) for node in nodes for source in (node, *node.all_input_nodes))
        return next((name for name in names if name is not None and edit.is_kept(name, self.keep)), None)

    @cached_property
    def _shared(self) -> dict[str, set[str]]:
        """The names that share storage with each name; what rules store later shares nothing."""
        groups: dict[int, set[str]] = {}
        tensors = self.program.tensors()
        for name, tensor in tensors.items():
            groups.setdefault(tensor.untyped_storage()._cdata, set()).add(name)
        return {name: groups[tensor.untyped_storage()._cdata] for name, tensor in tensors.items()}

    def readers(self, source: fx.Node) -> list[fx.Node]:
        """Every node that reads this `get_attr` node's storage, under whatever name."""
        names = self._shared.get(str(source.target), {str(source.target)})
        nodes = [node for node in self.program.graph.find_nodes(op="get_attr") if node.target in names]
        return list(dict.fromkeys(user for node in nodes for user in node.users))


class Rule(Protocol):
    """One equation. `matches` yields the nodes it could rewrite; `apply` rewrites one, or says why not."""

    @property
    def name(self) -> str: ...

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        """Nodes in the order of execution; a node that no longer belongs to the graph is left out by the caller."""
        ...

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        """Rewrite at `node` and return None, or leave all as it is and return the reason."""
        ...


def is_pure(node: fx.Node) -> bool:
    """Whether a call's value depends on its arguments alone: an ATen operator that neither draws random numbers
    nor writes, or arithmetic on sizes. Custom operators are left to the passes that inserted them.
    """
    target = node.target
    if node.op != "call_function":
        return False
    if isinstance(target, torch._ops.OpOverload):
        random = _EFFECTS & set(target.tags) or "rand" in target._schema.name or "empty" in target._schema.name
        fresh = target._schema.returns and not target._schema.is_mutable
        return target.namespace in ("aten", "prims") and not random and bool(fresh)
    return getattr(target, "__module__", "") == operator.add.__module__ or target in _SYMBOLIC


def program_output(node: fx.Node, replacement: fx.Node) -> str | None:
    """Why `replacement` must not take the place of `node` among the outputs: each output is a value of its own."""
    output = next(iter(reversed(node.graph.nodes)))
    if node not in output.all_input_nodes:
        return None
    if replacement.op in ("placeholder", "get_attr") or replacement in output.all_input_nodes:
        return "it names an output of the program"
    return None


_SYMBOLIC: set[Any] = {torch.sym_max, torch.sym_min, torch.sym_not, torch.sym_int, torch.sym_float}
