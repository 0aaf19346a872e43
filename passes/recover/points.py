"""Points at which two networks are compared: the outputs of their blocks, and their attention.

    point(P) = the last node of module P that is read outside of P
    blocks   = the outermost modules that have a sibling of their own class and two layers or more inside;
               where there are none, the layers themselves

Modules come from node metadata and parameter names, so that no architecture is known by name. Pruning keeps names:
points match by name where that finds at least half of the student's, else by relative depth; so also where the
student's are the teacher's first ones: a student with fewer blocks has numbered them anew.

`graph/blocks` tells blocks by another rule, for another end: what can be left out or share weights goes from one value
to another of its shape. So it has none in a plain net, and not those of a residual net that change the width, with
which its stages begin. Networks to compare need points at every depth, whatever the shapes: this rule finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.edit import argument, attribute, is_call, layer_name, module_path
from compressor.graph.program import Program

__all__ = ["Pair", "attention_of", "blocks_of", "features_axis", "matched"]

aten = torch.ops.aten
MOST = 8  # points: more cost memory and say little new
_LAST = {aten.linear.default, aten.addmm.default, aten.matmul.default, aten.layer_norm.default, aten.embedding.default}
_SECOND = {
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.convolution.default, aten.batch_norm.default,
    aten.conv_transpose2d.input, aten.group_norm.default,
}  # fmt: skip
_LAYERS = _LAST - {aten.matmul.default, aten.layer_norm.default} | _SECOND - {
    aten.batch_norm.default,
    aten.group_norm.default,
}


@dataclass(frozen=True)
class Pair:
    """A student's node and the teacher's that it is compared with, and along which axis their features lie.

    `alike`: they have the same name, so that one was probably made of the other.
    """

    name: str
    ours: fx.Node
    theirs: fx.Node
    axes: tuple[int, int] = (-1, -1)
    alike: bool = True


def blocks_of(program: Program) -> dict[str, fx.Node]:
    """The nodes that end each block, by the block's module path, in order of execution; float tensors only.

    What ends the whole network is left out: it is an output.
    """
    members = _members(program)
    layers = {path: [n for n in nodes if n.target in _LAYERS] for path, nodes in members.items()}
    classes = _classes(program)
    composite = [path for path, found in layers.items() if len(found) > 1]
    alike = _alike(composite, classes)
    chosen = _outermost(alike)
    chosen = chosen if len(chosen) > 1 else _outermost([path for path, found in layers.items() if len(found) == 1])
    ends = {path: _end(members[path]) for path in chosen}
    outputs = {*_results(program)}
    found = {p: n for p, n in ends.items() if n is not None and _is_feature(n) and not _feeds_only(n, outputs)}
    once = {node: path for path, node in reversed(found.items())}
    return dict(sorted(((path, node) for node, path in once.items()), key=lambda item: item[1]))


def attention_of(program: Program) -> dict[str, fx.Node]:
    """The attention nodes by module path (numbered where one module has several), in order of execution."""
    found: dict[str, fx.Node] = {}
    for node in program.nodes():
        if is_call(node, aten.scaled_dot_product_attention.default):
            path = module_path(node) or "attention"
            found[path if path not in found else f"{path}#{len(found)}"] = node
    return found


def matched(ours: Mapping[str, fx.Node], theirs: Mapping[str, fx.Node], most: int = MOST) -> list[Pair]:
    """The student's points with the teacher's, no more than `most`, evenly spread, the last one among them."""
    same = [name for name in ours if name in theirs and ours[name].meta["val"].dim() == theirs[name].meta["val"].dim()]
    alike = bool(same) and 2 * len(same) >= len(ours)
    renumbered = len(ours) < len(theirs) and list(ours) == list(theirs)[: len(ours)]
    if alike and not renumbered:
        pairs = [(name, ours[name], theirs[name]) for name in same]
    else:
        names, count = list(theirs), len(theirs)
        spread = [names[-(-(i + 1) * count // len(ours)) - 1] for i in range(len(ours))] if count else []
        pairs = [(f"{a} ~ {b}", ours[a], theirs[b]) for a, b in zip(ours, spread, strict=False)]
    kept = [pairs[-(-(i + 1) * len(pairs) // most) - 1] for i in range(most)] if len(pairs) > most else pairs
    return [Pair(name, a, b, (features_axis(a), features_axis(b)), alike) for name, a, b in kept]


def _members(program: Program) -> dict[str, list[fx.Node]]:
    """Every module path with the nodes inside it; a layer without metadata belongs to its parameter's module."""
    found: dict[str, list[fx.Node]] = {}
    for node in program.nodes():
        stack = [path for path, *_ in (node.meta.get("nn_module_stack") or {}).values() if path]
        named = any(attribute(source) for source in node.all_input_nodes)
        own = stack[-1:] or ([layer_name(node)] if named else [])
        for path in dict.fromkeys(prefix for each in own for prefix in _prefixes(each)):
            found.setdefault(path, []).append(node)
    return found


def _prefixes(path: str) -> Iterable[str]:
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _classes(program: Program) -> dict[str, str]:
    """The class of each module, as the metadata names it."""
    entries = [e for n in program.nodes() for e in (n.meta.get("nn_module_stack") or {}).values()]
    return {path: str(kind) for path, kind, *_ in entries if path}


def _alike(paths: Sequence[str], classes: Mapping[str, str]) -> list[str]:
    """Those with a sibling of the same class; where classes are not known, with a sibling that is numbered, too."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        parent, _, leaf = path.rpartition(".")
        kind = classes.get(path) or ("number" if leaf.isdigit() else path)
        groups.setdefault((parent, kind), []).append(path)
    return [path for group in groups.values() if len(group) > 1 for path in group]


def _outermost(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def _end(nodes: Sequence[fx.Node]) -> fx.Node | None:
    inside = set(nodes)
    ends = [node for node in nodes if any(user not in inside for user in node.users)]
    return ends[-1] if ends else None


def _results(program: Program) -> list[fx.Node]:
    return [node for node in program.graph.output_node().args[0] if isinstance(node, fx.Node)]  # type: ignore[union-attr]


def _is_feature(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype.is_floating_point and value.dim() >= 2


def _feeds_only(node: fx.Node, outputs: set[fx.Node]) -> bool:
    """Whether it is an output, or only an output's other shape."""
    return node in outputs or all(user in outputs and user.op == "output" for user in node.users)


def features_axis(node: fx.Node) -> int:
    """Where the features lie: last behind a linear or layer norm, second behind a convolution or batch norm."""
    rank, current = node.meta["val"].dim(), node
    for _ in range(20):
        if current.target in _LAST:
            return int(rank) - 1
        if current.target in _SECOND:
            return 1
        value = current.meta.get("val")
        moved = is_call(current, aten.permute.default, aten.transpose.int, aten.reshape.default, aten.view.default)
        if moved or not current.all_input_nodes or not isinstance(value, Tensor) or value.dim() != rank:
            break
        source = argument(current, "self")
        current = source if isinstance(source, fx.Node) else current.all_input_nodes[0]
    return 1 if rank >= 4 else int(rank) - 1
