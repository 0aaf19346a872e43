"""Where quantization can act: layers with stored weights, and the operators between them that can stay integer.

A *layer* multiplies by a stored weight (convolution, linear, embedding). *Glue* has integer kernels of its own
(residual add, concat, average pooling, …). A *transparent* operator moves values without computing (reshape, max
pooling), so its output has its input's scale. A layer's *tail* is what integer kernels fuse: a ReLU or clip.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.concrete import op_name
from compressor.graph.contract import Skip
from compressor.graph.edit import argument, attribute, is_call, is_kept, module_path, sole_user, tensor_of
from compressor.graph.program import Program
from compressor.graph.signature import dtype_name

__all__ = [
    "Layer", "Tail", "find_glue", "find_layers", "glue_inputs", "integer_glue", "is_transparent", "node_names", "rank",
    "source_of", "tail",
]  # fmt: skip

aten = torch.ops.aten

# operator: (kind, position of the data, of the weight, of the bias or None, axis of the weight's output channels)
_LAYERS: dict[Callable[..., Any], tuple[str, int, int, int | None, int]] = {
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.conv3d.default), ("conv", 0, 1, 2, 0)),
    **dict.fromkeys((aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding), ("conv", 0, 1, 2, 0)),
    **dict.fromkeys(
        (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input),
        ("conv_transpose", 0, 1, 2, 1),
    ),
    aten.linear.default: ("linear", 0, 1, 2, 0),
    aten.matmul.default: ("matmul", 0, 1, None, 1),
    aten.mm.default: ("matmul", 0, 1, None, 1),
    aten.addmm.default: ("matmul", 1, 2, 0, 1),
    aten.embedding.default: ("embedding", 1, 0, None, 0),
}
_CLIPS: dict[Callable[..., Any], tuple[str, str]] = {
    aten.hardtanh.default: ("min_val", "max_val"),
    **dict.fromkeys((aten.clamp.default, aten.clip.default), ("min", "max")),
}
LARGE = 1024  # weights below this many elements are not worth a line in the report
_JOINS = (aten.add.Tensor, aten.mul.Tensor, aten.cat.default)
_UNARY = (aten.avg_pool2d.default, aten.sigmoid.default, aten.leaky_relu.default)
_LAYOUT = (
    aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int, aten.squeeze.default,
    aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.permute.default, aten.transpose.int,
    aten.contiguous.default, aten.clone.default,
)  # fmt: skip
_TRANSPARENT = (
    *_LAYOUT, aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default, aten.slice.Tensor,
    aten.select.int, aten.expand.default, aten.upsample_nearest2d.vec,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A stored weight and every call that multiplies by it. `axis` is that of the weight's output channels."""

    name: str
    kind: str
    weight: str
    nodes: tuple[fx.Node, ...]
    axis: int

    @property
    def positions(self) -> tuple[int, int, int | None]:
        """Where data, weight and bias stand among a call's arguments."""
        _, data, weight, bias, _ = _LAYERS[self.nodes[0].target]  # type: ignore[index]
        return data, weight, bias

    @property
    def stem(self) -> str:
        """How names of tensors that come with this layer begin: `conv1.`, or `table_linear_` for a bare parameter."""
        module = self.weight.removesuffix("weight")
        return module if module in ("", f"{self.name}.") else f"{self.weight}_{self.kind}_"

    def data(self, node: fx.Node) -> fx.Node:
        found = node.args[self.positions[0]]
        if not isinstance(found, fx.Node):  # find_layers accepts no other call
            raise TypeError(f"{node.name} has no input")
        return found

    def bias(self, node: fx.Node) -> fx.Node | None:
        position = self.positions[2]
        found = node.args[position] if position is not None and position < len(node.args) else None
        return found if isinstance(found, fx.Node) else None


@dataclass(frozen=True)
class Tail:
    """The last node that an integer kernel takes in with this layer, and the bounds that it clips to."""

    node: fx.Node
    low: float = -math.inf
    high: float = math.inf


def find_layers(
    program: Program, keep: Sequence[str] = (), form: str = "integer form"
) -> tuple[list[Layer], list[Skip]]:
    """Every layer in order of first use, and where there is a weight but no layer, with the reason: such as that the
    operator has no `form` of what a pass makes of layers."""
    calls: dict[tuple[str, Callable[..., Any]], list[fx.Node]] = {}
    skips: dict[str, Skip] = {}
    for node in program.nodes():
        for skip in _declined(program, node, form):
            skips[skip.site] = skip
        if (weight := _stored_weight(program, node)) is not None:
            calls.setdefault((weight, node.target), []).append(node)  # type: ignore[arg-type]
    layers: list[Layer] = []
    for (weight, target), nodes in calls.items():
        kind, *_, axis = _LAYERS[target]
        name = weight.removesuffix(".weight")
        if is_kept(name, keep) or is_kept(weight, keep):
            skips[name] = Skip(name, "kept, as asked")
            continue
        if sum(weight == other for other, _ in calls) > 1:  # tied: each operator is named after the module it is in
            name = module_path(nodes[0]) or f"{name}_{kind}"
        if any(layer.name == name for layer in layers):
            name = f"{name}_{kind}"
        layers.append(Layer(name, kind, weight, tuple(nodes), axis))
    return layers, list(skips.values())


def find_glue(program: Program, keep: Sequence[str] = ()) -> dict[str, fx.Node]:
    """Glue operators by name."""
    names = node_names(program)
    return {name: node for node, name in names.items() if glue_inputs(node) and not is_kept(name, keep)}


def node_names(program: Program) -> dict[fx.Node, str]:
    """A name for every call that survives saving: the module it came from, the operator, and a count."""
    names: dict[fx.Node, str] = {}
    seen: Counter[str] = Counter()
    for node in program.nodes():
        name = ".".join(filter(None, (module_path(node), op_name(node).replace("::", "."))))
        seen[name] += 1
        names[node] = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return names


def glue_inputs(node: fx.Node) -> list[fx.Node]:
    """The tensors that must be integer for this operator to be; empty where it is not glue."""
    if is_call(node, *_JOINS):
        given = node.args[0] if is_call(node, aten.cat.default) else node.args[:2]
        operands = [operand for operand in _sequence(given) if isinstance(operand, fx.Node)]
        plain = len(operands) == len(_sequence(given)) and not node.kwargs
        return operands if plain and not any(operand.op == "get_attr" for operand in operands) else []
    pooled = is_call(node, aten.adaptive_avg_pool2d.default) and [*_sequence(node.args[1])] == [1, 1]
    return [node.args[0]] if (pooled or is_call(node, *_UNARY)) and isinstance(node.args[0], fx.Node) else []


def integer_glue(
    program: Program, glue: Mapping[str, fx.Node], inputs: Iterable[fx.Node], outputs: Iterable[fx.Node]
) -> dict[str, fx.Node]:
    """The glue that integers reach, from what static layers read (`inputs`) and write (`outputs`).

    Attention's masked scores are none: their masks, the smallest float or −∞, must not be calibrated.
    """
    names = {node: name for name, node in glue.items()}
    integer = {source_of(node) for node in inputs} | set(outputs)
    found: dict[str, fx.Node] = {}
    for node in program.graph.nodes:
        if is_transparent(node) and node.args[0] in integer:
            integer.add(node)
        elif node in names and all(source in integer for source in glue_inputs(node)):
            found[names[node]] = node
            integer.add(tail(node).node)
    return found


def is_transparent(node: fx.Node) -> bool:
    """Whether the output's values are among the input's (or zero)."""
    return is_call(node, *_TRANSPARENT) and isinstance(node.args[0], fx.Node)


def source_of(node: fx.Node) -> fx.Node:
    """The same elements in the layout that they had before, as far as nothing else reads them on the way."""
    while is_call(node, *_LAYOUT) and isinstance(before := node.args[0], fx.Node) and sole_user(before) is node:
        node = before
    return node


def tail(node: fx.Node) -> Tail:
    """The layer's or glue's own node, or the ReLU or clip that alone reads it."""
    user = sole_user(node)
    if user is None or user.args[:1] != (node,):
        return Tail(node)
    if is_call(user, aten.relu.default):
        return Tail(user, 0.0)
    if is_call(user, aten.relu6.default):
        return Tail(user, 0.0, 6.0)
    for target, names in _CLIPS.items():
        if is_call(user, target):
            low, high = (argument(user, name) for name in names)
            if not isinstance(low, fx.Node) and not isinstance(high, fx.Node):
                return Tail(user, -math.inf if low is None else float(low), math.inf if high is None else float(high))
    return Tail(node)


def rank(node: fx.Node) -> int:
    return len(node.meta["val"].shape)


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _stored_weight(program: Program, node: fx.Node) -> str | None:
    """The name of the weight where this call is a layer's."""
    if node.target not in _LAYERS:
        return None
    kind, _, position, *_ = _LAYERS[node.target]
    tensor = tensor_of(program, node.args[position])
    if tensor is None or tensor.dtype != torch.float32 or tensor.dim() < 2 or (kind == "matmul" and tensor.dim() > 2):
        return None
    return attribute(node.args[position])


def _declined(program: Program, node: fx.Node, form: str) -> list[Skip]:
    """Why a call with large float weights is no layer."""
    if node.target in _LAYERS:
        kind, _, position, *_ = _LAYERS[node.target]
        name, weight = module_path(node) or node.name, tensor_of(program, node.args[position])
        if weight is None and kind != "matmul":
            return [Skip(name, f"the weight of its {op_name(node)} is computed, not a stored float")]
        if weight is not None and weight.dtype != torch.float32:
            return [Skip(name, f"its weight is {dtype_name(weight.dtype)}, not float32")]
        return []
    found = []
    blocks = (torch.ops.compressor.linear_blocks.default, torch.ops.compressor.embedding_blocks.default)
    for source in [] if is_call(node, *blocks) else node.all_input_nodes:
        tensor = tensor_of(program, source)
        if tensor is not None and tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() >= LARGE:
            found.append(Skip(str(attribute(source)), f"{op_name(node)} has no {form}"))
    return found
