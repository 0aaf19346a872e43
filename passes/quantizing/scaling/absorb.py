"""Where a scale a channel can be folded into the layer before: who can take it, and which columns give it back.

    W f(P(x))  =  (W·s) f(P(x)/s)      f commutes with positive scales: ReLU, pooling, layout, attention's values, gates

P is what ends in parameters of its own for every unit: a linear or convolution (rows and bias), a norm or a product
with a stored vector (weight and bias). Unit numbers travel forward from P through the graph as a tensor on
which layout operators run as they are. Units that meet what does not commute keep their scale, and the rest of P's are
free: of one product for queries, keys and values, the values'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.concrete import Values, concrete_values, op_name
from compressor.graph.edit import argument, attribute, is_call, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer, find_layers

__all__ = ["Consumer", "Fold", "find_folds", "unit_numbers"]

aten = torch.ops.aten
_SINGLE = frozenset(["relu", "leaky_relu", "dropout", "contiguous", "clone", "alias", "detach", "feature_dropout"])
_LAYOUT_NAMES = """
view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t slice select expand split
split_with_sizes chunk unbind getitem repeat repeat_interleave narrow cat
"""
_LAYOUT = frozenset(_LAYOUT_NAMES.split())
_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "upsample_nearest", "mean")
_FACTORS = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)  # never div with a rounding
_ATTENTION = "scaled_dot_product_attention"
_STUCK = "{} in between does not commute with a scale"
_NONE = -1  # the number of what has no unit
Units = Any  # a tensor of unit numbers, or a list of them


@dataclass(frozen=True)
class Consumer:
    """A layer that reads the units: `units` (inputs,) is the number of each of its input channels, −1 for another's."""

    layer: Layer
    units: Tensor


@dataclass
class Fold:
    """`source` computes `size` units along `axis`; `weight` and `bias` are the names of what holds their scale.

    `layer` is the source where it is a layer: then rows of its weight are meant, else the elements of a vector. A norm
    without weight has none to name, and is given one. `scale` is what its units were divided by since it was found.
    """

    source: fx.Node
    size: int
    weight: str | None
    bias: str | None
    layer: Layer | None = None
    consumers: list[Consumer] = field(default_factory=list)
    scale: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.scale = torch.ones(self.size)

    @property
    def layers(self) -> list[Layer]:
        """The consumers' layers."""
        return [consumer.layer for consumer in self.consumers]


def find_folds(program: Program) -> tuple[list[Fold], dict[str, str]]:
    """All folds of a functional program in its order, and by layer why nothing takes its inputs' scale."""
    layers, _ = find_layers(program)
    owner = {node: layer for layer in layers for node in layer.nodes}
    values = concrete_values(program)
    folds: list[Fold] = []
    reasons: dict[str, str] = {}
    for node in program.graph.nodes:
        fold = _source(program, node, owner.get(node))
        if fold is None:
            continue
        found, why, _ = _follow(fold, owner, values)
        if why:
            for layer in _readers(node, owner):
                reasons.setdefault(layer.name, why)
        if found and (reason := _unfit(program, found)) is None:
            fold.consumers = found
            folds.append(fold)
        elif found:
            reasons |= {consumer.layer.name: str(reason) for consumer in found}
    served = {consumer.layer.name for fold in folds for consumer in fold.consumers}
    told = {layer.name: reasons.get(layer.name, "no layer before it can take a scale") for layer in layers}
    return folds, {name: reason for name, reason in told.items() if name not in served}


def _source(program: Program, node: fx.Node, layer: Layer | None) -> Fold | None:
    if layer is not None:
        if layer.kind not in ("conv", "linear", "matmul") or len(layer.nodes) > 1:
            return None
        bias = layer.bias(node)
        size = int(program.get(layer.weight).shape[layer.axis])
        stored = tensor_of(program, bias)
        own = all(_sole(program, name, node) for name in (layer.weight, attribute(bias)) if name)
        plain = bias is None or (stored is not None and stored.shape == (size,))
        return Fold(node, size, layer.weight, attribute(bias), layer) if own and plain else None
    if is_call(node, aten.layer_norm.default, aten.rms_norm.default):
        names: list[str | None] = [attribute(argument(node, name)) for name in ("weight", "bias")]
        shape = argument(node, "normalized_shape")
        plain = len(shape) == 1 and all(
            argument(node, key) is None or (name is not None and _sole(program, name, node))
            for key, name in zip(("weight", "bias"), names, strict=True)
        )
        return Fold(node, int(shape[0]), names[0], names[1]) if plain else None
    if is_call(node, aten.batch_norm.default) and not argument(node, "training"):
        names = [attribute(argument(node, name)) for name in ("weight", "bias")]
        own = all(name is not None and _sole(program, name, node) for name in names)
        return Fold(node, int(node.meta["val"].shape[1]), names[0], names[1]) if own else None
    if is_call(node, aten.mul.Tensor):
        for place in (0, 1):
            name, stored = attribute(node.args[place]), tensor_of(program, node.args[place])
            fits = stored is not None and stored.dim() == 1 and stored.is_floating_point()
            if name and fits and stored is not None and stored.shape[0] == node.meta["val"].shape[-1]:
                return Fold(node, len(stored), name, None) if _sole(program, name, node) else None
    return None


def _sole(program: Program, name: str, *nodes: fx.Node) -> bool:
    """Whether nothing but these nodes reads a stored tensor's memory."""
    memory = program.get(name).untyped_storage()._cdata
    for other in program.graph.nodes:
        stored = tensor_of(program, other)
        if stored is not None and stored.untyped_storage()._cdata == memory and set(other.users) - set(nodes):
            return False
    return True


def unit_numbers(program: Program, folds: Sequence[Fold]) -> list[Mapping[fx.Node, Tensor]]:
    """By fold, the number of the unit that each element of a value is a multiple of, −1 for another's: of every value
    between the source and the layers that read it. With one element along each dimension in which all are the same."""
    layers, _ = find_layers(program)
    owner = {node: layer for layer in layers for node in layer.nodes}
    values = concrete_values(program)
    each = (_follow(fold, owner, values)[2].items() for fold in folds)
    return [{node: _narrowed(units) for node, units in known if isinstance(units, Tensor)} for known in each]


def _narrowed(units: Tensor) -> Tensor:
    for dim in range(units.dim()):
        first = units.narrow(dim, 0, 1)
        units = first if bool((units == first).all()) else units
    return units.clone()


def _follow(
    fold: Fold, owner: Mapping[fx.Node, Layer], values: Values
) -> tuple[list[Consumer], str, Mapping[fx.Node, Units]]:
    """The layers that units end in which all end in layers, why the others, if any, do not, and the units by value."""
    shape = values[fold.source].shape
    convolved = fold.layer is not None and fold.layer.kind == "conv"
    axis = 1 if convolved or is_call(fold.source, aten.batch_norm.default) else len(shape) - 1
    if shape[axis] != fold.size or len(shape) < 2:
        return [], "its batch has no dimension of its own", {}
    along = [-1 if place == axis else 1 for place in range(len(shape))]
    known: dict[fx.Node, Units] = {fold.source: torch.arange(fold.size).view(along).expand(shape)}
    found: dict[str, Consumer] = {}
    seen: dict[str, set[fx.Node]] = {}
    held = _Held(fold.size)
    for node in fold.source.graph.nodes:
        read = [source for source in node.all_input_nodes if source in known]
        layer = owner.get(node)
        if read and layer is not None and layer.kind in ("conv", "linear", "matmul") and read == [layer.data(node)]:
            units = _columns(known[read[0]], layer)
            if units is None or (layer.name in found and not torch.equal(found[layer.name].units, units)):
                held.add(known[read[0]], f"{layer.name} reads different units in one channel")
                continue
            found[layer.name] = Consumer(layer, units)
            seen.setdefault(layer.name, set()).add(node)
        elif read:
            moved = _through(node, known, values)
            if isinstance(moved, str):
                held.add([known[source] for source in read], moved)
                continue
            known[node] = moved
            held.add([known[source] for source in read if source in _still(node)], _STUCK.format(op_name(node)))
    for name, consumer in found.items():
        if seen[name] != set(consumer.layer.nodes):
            held.add(consumer.units, f"{name} is called on something else too")
    free = [replace(consumer, units=held.without(consumer.units)) for consumer in found.values()]
    return [consumer for consumer in free if bool((consumer.units != _NONE).any())], held.why, known


class _Held:
    """Units that keep their scale, and the first reason."""

    def __init__(self, size: int) -> None:
        self.units, self.why = torch.zeros(size, dtype=torch.bool), ""

    def add(self, units: Units, why: str) -> None:
        for part in units if isinstance(units, (list, tuple)) else [units]:
            if isinstance(part, (list, tuple)):
                self.add(part, why)
            elif isinstance(part, Tensor) and bool((own := part[part != _NONE]).numel()):
                self.units[own] = True
                self.why = self.why or why

    def without(self, units: Tensor) -> Tensor:
        """The units, those that are held made another's."""
        return torch.where((units != _NONE) & self.units[units.clamp(min=0)], torch.full_like(units, _NONE), units)


def _still(node: fx.Node) -> tuple[Any, ...]:
    """Inputs whose units keep their scale though another one's pass: attention's queries and keys."""
    return node.args[:2] if op_name(node) == _ATTENTION else ()


def _columns(units: Tensor, layer: Layer) -> Tensor | None:
    """The unit of each input channel, where it is the same at all positions."""
    axis = 1 if layer.kind == "conv" else units.dim() - 1
    flat = units.movedim(axis, 0).flatten(1)
    return flat[:, 0].clone() if bool((flat == flat[:, :1]).all()) else None


def _through(node: fx.Node, known: Mapping[fx.Node, Units], values: Values) -> Units | str:
    """The units of what a node returns, or why it does not commute with their scales."""
    name = op_name(node)
    stuck = _STUCK.format(name)
    if node.op == "output":
        return "what it reads is an output of the model"
    if node.op != "call_function" or node.kwargs.get("dtype") is not None:
        return stuck
    mine = [source for source in node.all_input_nodes if source in known]
    value = values[node]
    if name in _SINGLE:
        return known[mine[0]]
    if name in _LAYOUT:
        moved = _moved(node, known, values)
        return stuck if moved is None else moved
    if name.startswith(_POOLS) and isinstance(value, Tensor):  # else with the places of the largest
        return _constant(known[mine[0]], value.shape, name, node) if len(mine) == 1 else stuck
    if is_call(node, *_FACTORS) and len(mine) == 1 and (name == "mul" or node.args[0] is mine[0]):
        twice = sum(argument is mine[0] for argument in node.args) > 1
        return stuck if twice else torch.broadcast_to(known[mine[0]], value.shape)
    if name in ("add", "sub") and len(node.args) == 2 and all(argument in known for argument in node.args):
        one, two = (torch.broadcast_to(known[argument], value.shape) for argument in node.args)  # type: ignore[index]
        return one if torch.equal(one, two) else stuck
    values_read = [source for source in mine if source not in _still(node)]
    if name == _ATTENTION and values_read == [node.args[2]]:
        return _weighted(known[values_read[0]], value.shape) if not argument(node, "enable_gqa") else stuck
    if name in ("matmul", "bmm") and len(mine) == 1 and node.args[1] is mine[0] and known[mine[0]].dim() > 2:
        return _weighted(known[mine[0]], value.shape)
    return stuck


def _moved(node: fx.Node, known: Mapping[fx.Node, Units], values: Values) -> Units | None:
    """A layout operator run on unit numbers; tensors without units count as none."""

    def given(source: fx.Node) -> Any:
        if source in known:
            return known[source]
        value = values[source]
        return torch.full(tuple(value.shape), _NONE) if isinstance(value, Tensor) else value

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), given)
    target: Any = aten.reshape.default if op_name(node) in ("view", "_unsafe_view") else node.target
    try:
        return target(*args, **kwargs)
    except (RuntimeError, TypeError, IndexError):  # a size that the data decide
        return None


def _constant(units: Tensor, shape: Sequence[int], name: str, node: fx.Node) -> Units | str:
    """Through a pool or mean, whose every output has to be of one unit."""
    stuck = f"{name} in between mixes units"
    if name == "mean":
        dims = argument(node, "dim")
        dims = [dims] if isinstance(dims, int) else list(dims or range(units.dim()))
    else:
        pooled = re.search(r"\d", name)  # of how many dimensions, the last ones; there may be no batch
        dims = list(range(-int(pooled[0]), 0)) if pooled else []
    for dim in dims:
        if not bool((units == units.narrow(dim, 0, 1)).all()):
            return stuck
        units = units.narrow(dim, 0, 1) if name != "mean" or argument(node, "keepdim") else units
    if name == "mean" and not argument(node, "keepdim"):
        for dim in sorted((dim % units.dim() for dim in dims), reverse=True):
            units = units.select(dim, 0)
    return units.expand(shape)


def _weighted(units: Tensor, shape: Sequence[int]) -> Units | str:
    """Through sums over positions: all positions have the same units."""
    if not bool((units == units.narrow(-2, 0, 1)).all()):
        return "attention in between mixes units"
    kept = units.narrow(-2, 0, 1) if len(shape) >= units.dim() else units.select(-2, 0)  # a vector of weights
    return torch.broadcast_to(kept, tuple(shape))


def _readers(source: fx.Node, owner: Mapping[fx.Node, Layer]) -> list[Layer]:
    """The layers that come next after a source, whatever is in between."""
    found, reached = [], {source}
    for node in source.graph.nodes:
        if node is not source and any(before in reached for before in node.all_input_nodes):
            if node in owner:
                found.append(owner[node])
            else:
                reached.add(node)
    return found


def _unfit(program: Program, consumers: Sequence[Consumer]) -> str | None:
    """Why a consumer's weight cannot be scaled."""
    for consumer in consumers:
        if not _sole(program, consumer.layer.weight, *consumer.layer.nodes):
            return f"the weight of {consumer.layer.name} is shared with another layer"
    return None
