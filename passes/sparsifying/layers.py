"""Where zeros can be put: stored weights that a linear layer, a matrix product or a convolution multiplies by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from compressor.graph.concrete import op_name
from compressor.graph.contract import Skip
from compressor.graph.edit import argument, attribute, is_kept, set_tensor, tensor_of
from compressor.graph.program import Program
from compressor.graph.work import COMPUTE, kind_of
from compressor.passes.reading.matrix import from_matrix, rows_of, to_matrix
from compressor.passes.reading.memory import memory_range
from compressor.passes.sparsifying.pattern import Pattern

__all__ = ["Layer", "find_layers", "unfit"]

FEW = 8  # inputs an output, below which no share of them goes
LARGE = 1024  # weights below this many elements are not worth a line in the report
_KINDS = {
    "linear": ("linear", 0, 1), "conv1d": ("conv", 0, 1), "conv2d": ("conv", 0, 1), "conv3d": ("conv", 0, 1),
    "matmul": ("matmul", 0, 1), "mm": ("matmul", 0, 1), "addmm": ("matmul", 1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A stored weight under all its names, and every call that multiplies by it."""

    name: str
    kind: str
    weights: tuple[str, ...]
    nodes: tuple[fx.Node, ...]
    groups: int

    def matrix(self, program: Program) -> Tensor:
        """Groups × outputs × inputs, in double precision."""
        weight: Tensor = program.get(self.weights[0])
        return to_matrix(weight.detach(), self.kind, self.groups).double()

    def width(self, program: Program) -> int:
        """Its inputs or outputs, whichever are fewer."""
        return int(min(program.get(self.weights[0]).shape[:2]))

    def inputs(self, program: Program) -> int:
        """How many inputs an output has."""
        return int(self.matrix(program).shape[-1])

    def data(self, node: fx.Node) -> fx.Node:
        found = node.args[_KINDS[op_name(node)][1]]
        if not isinstance(found, fx.Node):
            raise TypeError(f"{node.name} has no input")
        return found

    def rows(self, program: Program, node: fx.Node, data: Tensor, limit: int) -> Tensor:
        """What at most `limit` positions of a call read: groups × positions × inputs."""
        return rows_of(node, data, program.get(self.weights[0]), self.kind, limit).float()

    def write(self, program: Program, matrix: Tensor) -> None:
        """Store new weights, shared as the old ones were."""
        old: Tensor = program.get(self.weights[0])
        value = from_matrix(matrix, old.detach(), self.kind)
        for name in self.weights:
            set_tensor(program, name, value)


def find_layers(program: Program, keep: Sequence[str] = ()) -> tuple[list[Layer], list[Skip]]:
    """Every layer in order of its first call, and the large weights that are none or must stay, with the reason."""
    calls: dict[str, list[fx.Node]] = {}
    skips: dict[str, str] = {}
    for node in program.nodes():
        weight = _weight(program, node)
        if weight is not None:
            calls.setdefault(weight, []).append(node)
        for name, reason in _declined(program, node, weight):
            skips.setdefault(name, reason)
    found = []
    for names in _shared(program, list(calls)):
        nodes = tuple(node for name in names for node in calls[name])
        layer = Layer(names[0].removesuffix(".weight"), _kind(nodes[0]), names, nodes, _groups(nodes[0]))
        reason = _refusal(program, layer, keep)
        if reason:
            skips |= dict.fromkeys(names, reason)
        else:
            found.append(layer)
    return found, [Skip(name.removesuffix(".weight"), reason) for name, reason in skips.items()]


def unfit(program: Program, layer: Layer, pattern: Pattern) -> str:
    """Why this pattern cannot be put on a layer, or nothing."""
    _, outputs, inputs = layer.matrix(program).shape
    width = int(program.get(layer.weights[0]).shape[1]) if layer.kind == "conv" else inputs
    if layer.groups > 1 and width == 1:
        return "depthwise: an output reads one channel, and all of its kernel is needed"
    if pattern.group and width % pattern.group:
        each = " of each group" if layer.groups > 1 else ""
        return f"its {width} input channels{each} are not a multiple of {pattern.group}"
    if not pattern.group and inputs < FEW:
        return f"an output has only {inputs} weights"
    return "" if outputs else "it has no outputs"


def _weight(program: Program, node: fx.Node) -> str | None:
    kind, _, place = _KINDS.get(op_name(node), ("", 0, 0))
    tensor = tensor_of(program, node.args[place]) if kind and len(node.args) > place else None
    fits = tensor is not None and tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() > 0
    if tensor is None or not fits or (kind == "matmul" and tensor.dim() > 2):
        return None
    return attribute(node.args[place])


def _declined(program: Program, node: fx.Node, weight: str | None) -> list[tuple[str, str]]:
    """Large weights that this call multiplies by or looks up in, and why they are no layer's."""
    kind, found = kind_of(node), []
    if kind not in (*COMPUTE, "embedding", "recurrent", "einsum", "attention"):
        return []
    for source in node.all_input_nodes:
        name, tensor = attribute(source), tensor_of(program, source)
        large = tensor is not None and tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() >= LARGE
        if name is not None and large and name != weight:
            reason = "an embedding is looked up, not multiplied" if kind == "embedding" else ""
            found.append((name, reason or f"{op_name(node)} has no sparse form"))
    return found


def _shared(program: Program, names: list[str]) -> list[tuple[str, ...]]:
    """The weights, those that are one tensor under several names together."""
    found: dict[object, list[str]] = {}
    for name in names:
        tensor = program.get(name)
        found.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    return [tuple(group) for group in found.values()]


def _refusal(program: Program, layer: Layer, keep: Sequence[str]) -> str:
    if any(is_kept(name, keep) or is_kept(name.removesuffix(".weight"), keep) for name in layer.weights):
        return "kept, as asked"
    if len({(_kind(node), _groups(node)) for node in layer.nodes}) > 1:
        return "calls of different kinds read its weight"
    mine = memory_range(program.get(layer.weights[0]))
    for name, tensor in program.tensors().items():
        start, end = memory_range(tensor)
        strangers = _readers(program, name) - set(layer.nodes)
        if start < mine[1] and mine[0] < end and (strangers or name not in layer.weights):
            kinds = {kind_of(node) for node in strangers} - {"other"}
            other = min(kinds or {op_name(node) for node in strangers} or {name})
            return f"its weight is shared with {'an' if other[0] in 'aeiou' else 'a'} {other}"
    return ""


def _readers(program: Program, name: str) -> set[fx.Node]:
    return {user for node in program.graph.nodes if attribute(node) == name for user in node.users}


def _kind(node: fx.Node) -> str:
    return _KINDS[op_name(node)][0]


def _groups(node: fx.Node) -> int:
    return int(argument(node, "groups")) if _kind(node) == "conv" else 1
