"""A feed-forward block as two: the few hidden neurons that weigh most, and the rest, which bears fewer bits.

    n_i = mean over x of ‖act(x·w1_i + b_i) · w2_i‖
    FFN(x) = W2[:, H]·act(W1[H]·x + b1[H]) + b2 + W2[:, R]·act(W1[R]·x + b1[R])          H the heavy neurons, R the rest

The sum over hidden neurons is cut in two, so in float nothing changes but the order of the sum (FFSplit, Liu et al.,
2024, arXiv:2401.04044). A block is found by walking back from a linear layer through operators that compute value by
value, to the linear layers that give its inputs; two of those are a gated block. Without data n_i is ‖w1_i‖·‖w2_i‖.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.errors import RecipeError
from compressor.graph.concrete import op_name
from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.edit import add_tensor, attribute, delete_unused, insert, substitute, tensor_of
from compressor.graph.program import Program
from compressor.passes.pruning.settings import parse_places, spell_units
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import other_readers
from compressor.passes.reading.samples import limited, visit

__all__ = ["SPLIT", "FeedForward", "apply_splits", "find_ffns", "is_split", "neuron_scores", "plan_splits"]

SPLIT = "split"
UNIT = 32  # neurons: whole blocks, and whole vectors
SAMPLES = 64
_PARTS = ("heavy", "rest")


def is_split(setting: Setting) -> bool:
    return setting.get("format") == SPLIT


@dataclass(frozen=True)
class FeedForward:
    """The layers that compute the hidden neurons, what is computed on them, and the layer that takes them in."""

    producers: tuple[Layer, ...]
    inner: tuple[fx.Node, ...]
    consumer: Layer

    @property
    def name(self) -> str:
        return self.consumer.name

    def hidden(self, program: Program) -> int:
        return int(program.get(self.consumer.weight).shape[1])


def find_ffns(program: Program, keep: Sequence[str] = ()) -> list[FeedForward]:
    """Every feed-forward block of a functional program, in order."""
    layers = [layer for layer in find_layers(program, keep)[0] if layer.kind == "linear" and len(layer.nodes) == 1]
    own = {layer.nodes[0]: layer for layer in layers if not other_readers(program, [layer])}
    found = (_walk(program, layer, own) for layer in own.values())
    return [block for block in found if block is not None]


def plan_splits(
    program: Program, context: Context, share: float, keep: Sequence[str] = ()
) -> tuple[dict[str, Setting], list[Skip]]:
    """The heavy neurons of each block, by the name of its last layer: `share` of them, in whole blocks of 32."""
    settings: dict[str, Setting] = {}
    skipped: list[Skip] = []
    blocks = find_ffns(program, keep)
    scores = neuron_scores(program, context, blocks)
    for block in blocks:
        hidden = block.hidden(program)
        if hidden < 2 * UNIT:
            skipped.append(Skip(block.name, f"its {hidden} hidden neurons are too few to split"))
            continue
        count = min(max(round(share * hidden / UNIT), 1) * UNIT, hidden - UNIT)
        heavy = scores[block.name].topk(count).indices.tolist()
        settings[block.name] = {"format": SPLIT, "heavy": spell_units(range(hidden), heavy)}
    if not blocks:
        skipped.append(
            Skip("ffsplit", "there is no block of linear layers with an activation between them", whole=True)
        )
    return settings, skipped


def neuron_scores(program: Program, context: Context, blocks: Sequence[FeedForward]) -> dict[str, Tensor]:
    """n_i of every hidden neuron, by block."""
    sums: dict[fx.Node, Tensor] = {}
    counts: dict[fx.Node, int] = {}
    watched = {block.consumer.data(block.consumer.nodes[0]) for block in blocks}

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        rows = value.detach().abs().flatten(0, -2).double()
        sums[node] = sums.get(node, torch.zeros(rows.shape[1], dtype=torch.float64)) + rows.sum(0)
        counts[node] = counts.get(node, 0) + len(rows)

    visit(program, limited(program, context.calibration, SAMPLES), look, watched)
    found: dict[str, Tensor] = {}
    for block in blocks:
        node = block.consumer.data(block.consumer.nodes[0])
        out = program.get(block.consumer.weight).detach().double().norm(dim=0)
        given = [program.get(layer.weight).detach().double().norm(dim=1) for layer in block.producers]
        found[block.name] = out * (sums[node] / counts[node] if node in sums else functools.reduce(operator.mul, given))
    return found


def apply_splits(program: Program, settings: Mapping[str, Setting]) -> list[str]:
    """Split an already copied, functional program; the names of the heavy layers that came of it.

    Raises RecipeError where a site is no such block, or its neurons cannot be read.
    """
    made: list[str] = []
    for site, setting in settings.items():
        block = next((block for block in find_ffns(program) if block.name == site), None)
        where = f"quantize: site {site!r}"
        if block is None:
            raise RecipeError("this is not the last layer of a feed-forward block", where=where)
        if set(setting) != {"format", "heavy"}:
            raise RecipeError(f"keys are {sorted(setting)}, not format and heavy", where=where)
        hidden = block.hidden(program)
        heavy = parse_places(setting["heavy"], hidden, where, "heavy")
        if not 0 < len(heavy) < hidden:
            raise RecipeError(f"{len(heavy)} of {hidden} neurons are heavy: both parts need some", where=where)
        made += [f"{_stem(layer)}.{_PARTS[0]}" for layer in (*block.producers, block.consumer)]
        _split(program, block, torch.tensor(sorted(heavy)))
    return made


def _split(program: Program, block: FeedForward, heavy: Tensor) -> None:
    rest = torch.ones(block.hidden(program), dtype=torch.bool)
    rest[heavy] = False
    last = block.consumer.nodes[0]
    parts = []
    for part, rows in zip(_PARTS, (heavy, rest.nonzero().flatten()), strict=True):
        made: dict[fx.Node, fx.Node] = {}
        for layer in block.producers:
            made[layer.nodes[0]] = _linear(program, layer, part, layer.data(layer.nodes[0]), rows, last)
        for node in block.inner:
            args = fx.node.map_arg(node.args, functools.partial(_mapped, made))
            kwargs = fx.node.map_arg(node.kwargs, functools.partial(_mapped, made))
            target: Any = node.target
            made[node] = insert(program, target, args, like=node, before=last, kwargs=dict(kwargs))
        data = made[block.consumer.data(last)]
        parts.append(_linear(program, block.consumer, part, data, rows, last, columns=True))
    total = insert(program, torch.ops.aten.add.Tensor, tuple(parts), like=last)
    substitute(program, last, total)
    delete_unused(program)


def _mapped(made: Mapping[fx.Node, fx.Node], node: fx.Node) -> fx.Node:
    return made.get(node, node)


def _stem(layer: Layer) -> str:
    return layer.weight.removesuffix(".weight")


def _linear(
    program: Program, layer: Layer, part: str, data: fx.Node, rows: Tensor, before: fx.Node, *, columns: bool = False
) -> fx.Node:
    """One part of a layer: rows of a producer, or columns of the consumer, whose bias the heavy part keeps."""
    call = layer.nodes[0]
    weight = program.get(layer.weight).detach()
    stem = f"{_stem(layer)}.{part}"
    cut = weight[:, rows] if columns else weight[rows]
    args = [data, add_tensor(program, f"{stem}.weight", cut.contiguous(), before)]
    bias = tensor_of(program, layer.bias(call))
    if bias is not None and not columns:
        args.append(add_tensor(program, f"{stem}.bias", bias.detach()[rows], before))
    elif bias is not None and part == _PARTS[0]:
        args.append(add_tensor(program, f"{stem}.bias", bias.detach().clone(), before))
    return insert(program, torch.ops.aten.linear.default, tuple(args), like=call, before=before)


def _walk(program: Program, consumer: Layer, own: Mapping[fx.Node, Layer]) -> FeedForward | None:
    """The block that ends in a layer, or None where something else feeds it or reads what lies between."""
    last, hidden = consumer.nodes[0], program.get(consumer.weight).shape[1]
    inner: list[fx.Node] = []
    producers: list[Layer] = []
    waiting = [consumer.data(last)]
    while waiting:
        node = waiting.pop()
        if node in inner or any(node is layer.nodes[0] for layer in producers):
            continue
        layer = own.get(node)
        if layer is not None and program.get(layer.weight).shape[0] == hidden and not node.kwargs:
            producers.append(layer)
        elif _is_by_value(program, node, hidden):
            inner.append(node)
            waiting += [source for source in node.all_input_nodes if attribute(source) is None]
        else:
            return None
    known = {*inner, *(layer.nodes[0] for layer in producers), last}
    closed = all(user in known for node in known - {last} for user in node.users)
    if not inner or not producers or not closed or _unlike(program, [*producers, consumer]):
        return None
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    producers.sort(key=lambda layer: order[layer.nodes[0]])
    return FeedForward(tuple(producers), tuple(sorted(inner, key=order.__getitem__)), consumer)


def _is_by_value(program: Program, node: fx.Node, hidden: int) -> bool:
    """Whether a call computes each value from those at its own place, and single numbers."""
    value = node.meta.get("val")
    by_value = torch.Tag.pointwise in getattr(node.target, "tags", ()) or op_name(node) == "dropout"
    shaped = isinstance(value, Tensor) and value.dim() > 1 and value.shape[-1] == hidden
    stored = [tensor_of(program, source) for source in node.all_input_nodes if attribute(source) is not None]
    return by_value and shaped and all(tensor is not None and tensor.numel() == 1 for tensor in stored)


def _unlike(program: Program, layers: Sequence[Layer]) -> bool:
    """Whether some bias is computed, or not one number an output."""
    for layer in layers:
        bias = layer.bias(layer.nodes[0])
        stored = tensor_of(program, bias)
        if bias is not None and (stored is None or stored.shape != program.get(layer.weight).shape[:1]):
            return True
    return False
