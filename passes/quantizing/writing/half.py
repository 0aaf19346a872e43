"""Half precision: parameters and arithmetic in float16, with casts around what would overflow or lose digits.

    y = softmax(linear(x, W))   →   y = softmax(float(linear(half(x), half(W))))

Layers compute in half, and what follows them does too while it only moves, adds, multiplies or saturates values.
Statistics of norms, softmax, long reductions, exponentials, powers and divisions stay float32, as do values that
reach beyond a quarter of half's range on the data (P. Micikevicius et al., 2018, Mixed Precision Training,
arXiv:1710.03740, section 3.3). Inputs and outputs keep their dtypes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressor.graph.concrete import op_name
from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.edit import insert, set_tensor, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.settings import format_of
from compressor.passes.quantizing.sites import Layer, find_layers, node_names
from compressor.passes.quantizing.ties import storage_key
from compressor.passes.reading.samples import limited, visit
from compressor.quant.formats import FP16

__all__ = ["HalfPlan", "apply_half", "plan_half"]

aten = torch.ops.aten
SAMPLES = 8
HEADROOM = FP16.high / 4  # other inputs than the calibration data may reach further
FLOOR = 2.0**-13  # values all below this have fewer than ten bits left in half precision
LOSS = 0.01  # relative error of a weight tensor in half; rounding alone costs 2e-4
# Operators whose half result is as good as rounding the float one: they move, add, multiply or saturate values.
_SAFE_NAMES = """
view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t slice select narrow expand expand_as
contiguous clone alias detach dropout feature_dropout split split_with_sizes chunk unbind getitem cat stack repeat roll
flip pad constant_pad_nd reflection_pad2d replication_pad2d index index_select gather unfold pixel_shuffle
pixel_unshuffle channel_shuffle upsample_nearest2d upsample_bilinear2d max_pool1d max_pool2d max_pool3d avg_pool2d
add sub mul neg abs maximum minimum where masked_fill relu relu6 hardtanh clamp hardswish hardsigmoid leaky_relu elu
prelu gelu silu mish sigmoid tanh glu matmul mm bmm baddbmm addmm scaled_dot_product_attention
"""
_SAFE = frozenset(_SAFE_NAMES.split())


@dataclass
class HalfPlan:
    """Settings: layers in fp16, and by name the operators that the data showed must stay fp32."""

    layers: list[Layer]
    settings: dict[str, Setting] = field(default_factory=dict)
    damage: dict[str, float] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def options(self, program: Program) -> list[Option]:
        found = []
        for layer in self.layers:
            size = program.get(layer.weight).numel()
            found.append(Option(layer.name, {"format": "fp32"}, 4 * size, damage=0.0))
            found.append(Option(layer.name, {"format": "fp16"}, 2 * size, damage=self.damage[layer.name], level="fp16"))
        return found


def plan_half(
    program: Program, context: Context, keep: Sequence[str] = (), only: Collection[str] | None = None
) -> HalfPlan:
    """Plan fp16 for a functional program, for the layers called `only` alone where they are given.

    Ranges come from the calibration data, or else from the example.
    """
    layers, skipped = find_layers(program, keep)
    layers = [layer for layer in layers if only is None or layer.name in only]
    plan = HalfPlan([], skipped=skipped)
    example = {spec.name: value for spec, value in zip(program.inputs, program.example, strict=True)}
    peaks = _peaks(program, limited(program, context.calibration or [example], SAMPLES))
    for layer in layers:
        weight: Tensor = program.get(layer.weight).detach()
        loss = relative_error(weight, weight.half().float())
        largest = float(weight.abs().max()) if weight.numel() else 0.0
        if not largest <= FP16.high:
            plan.skipped.append(Skip(layer.name, f"its weights reach {largest:.3g}, beyond half precision's 65504"))
        elif loss > LOSS:
            plan.skipped.append(Skip(layer.name, f"its weights lose {loss:.1%} in half precision: they are too small"))
        elif reason := next(filter(None, (_misfit(node, peaks) for node in layer.nodes)), ""):
            plan.skipped.append(Skip(layer.name, reason))
        else:
            plan.layers.append(layer)
            plan.settings[layer.name] = {"format": "fp16"}
            plan.damage[layer.name] = loss
    names = node_names(program)
    chosen = {node for layer in plan.layers for node in layer.nodes}
    followers = _half_nodes(program, plan.layers, frozenset()) - chosen
    for node, name in names.items():
        if node in followers and _misfit(node, peaks):
            plan.settings[name] = {"format": "fp32"}
    return plan


def apply_half(program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting]) -> list[str]:
    """Rewrite an already copied, functional program; the names of the tensors that became half."""
    chosen = [layer for layer in layers if layer.name in settings and format_of(settings[layer.name]) == "fp16"]
    names = node_names(program)
    kept = {node for node, name in names.items() if name in settings and format_of(settings[name]) == "fp32"}
    half = _half_nodes(program, chosen, kept)
    stored = _store(program, half)
    casts: dict[tuple[fx.Node, torch.dtype, bool], fx.Node] = {}
    for node in list(program.graph.nodes):
        want = torch.float16 if node in half else torch.float32
        for source in node.all_input_nodes:
            have = torch.float16 if source in half or source in stored else torch.float32
            if have == want or not _is_single(source):
                continue
            mask = op_name(node) == "scaled_dot_product_attention" and source not in node.args[:3]
            key = (source, want, mask)
            if key not in casts:
                casts[key] = _cast(program, source, want, node, mask)
            node.replace_input_with(source, casts[key])
    return list(dict.fromkeys(str(node.target) for node in program.graph.nodes if node in stored))


def _half_nodes(program: Program, layers: Sequence[Layer], kept: set[fx.Node] | frozenset[fx.Node]) -> set[fx.Node]:
    """The chosen layers' calls, and what safely follows them."""
    half = {node for layer in layers for node in layer.nodes}
    for node in program.nodes():
        follows = any(source in half for source in node.all_input_nodes)
        if follows and node not in kept and _is_safe(program, node):
            half.add(node)
    return half


def _is_safe(program: Program, node: fx.Node) -> bool:
    scalars = [leaf for leaf in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(leaf, int | float)]
    tensors = [tensor for source in node.all_input_nodes if (tensor := tensor_of(program, source)) is not None]
    divided = op_name(node) == "div" and not isinstance(node.args[1], fx.Node) and not node.kwargs
    return (
        (op_name(node) in _SAFE or divided)
        and node.kwargs.get("dtype") is None
        and _is_single(node)
        and all(value == 0 or 2.0**-24 <= abs(value) <= HEADROOM for value in scalars if isinstance(value, float))
        and all(float(t.detach().abs().max()) <= HEADROOM for t in tensors if t.is_floating_point() and t.numel())
    )


def _is_single(node: fx.Node) -> bool:
    """Whether a value (or each in a list) is float32."""
    values = [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]
    return bool(values) and all(value.dtype == torch.float32 for value in values)


def _store(program: Program, half: set[fx.Node]) -> set[fx.Node]:
    """Store in half what only half nodes read; the `get_attr` nodes that now give half. Tied tensors stay tied."""
    readers = [node for node in program.graph.nodes if node.op == "get_attr" and node.users and _is_single(node)]
    groups: dict[tuple[int, ...], list[fx.Node]] = {}
    for node in readers:
        tensor = tensor_of(program, node)
        if tensor is not None:
            groups.setdefault(storage_key(tensor), []).append(node)
    stored: set[fx.Node] = set()
    for nodes in groups.values():
        if all(user in half for node in nodes for user in node.users):
            value = program.get(str(nodes[0].target)).detach().half()
            for name in {str(node.target) for node in nodes}:
                set_tensor(program, name, value)
            stored.update(nodes)
    return stored


def _cast(program: Program, source: fx.Node, dtype: torch.dtype, before: fx.Node, mask: bool) -> fx.Node:
    """A cast; an attention mask is held within half's range first, because a row of −∞ has no softmax."""
    like = before if before.op == "call_function" else source
    if mask and dtype == torch.float16:
        source = insert(program, aten.clamp.default, (source, FP16.low, FP16.high), like=like, before=before)
    return insert(program, aten.to.dtype, (source, dtype), like=like, before=before)


def _peaks(program: Program, batches: Sequence[Mapping[str, Tensor]]) -> dict[fx.Node, float]:
    """The largest magnitude of every float value."""
    peaks: dict[fx.Node, float] = {}

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            peaks[node] = max(peaks.get(node, 0.0), float(value.detach().abs().max()))

    visit(program, batches, look, set(program.graph.nodes))
    return peaks


def _misfit(node: fx.Node, peaks: Mapping[fx.Node, float]) -> str:
    """Why what a node reads and writes does not fit half; an attention mask is held in range and does not count."""
    sources = node.args[:3] if op_name(node) == "scaled_dot_product_attention" else node.all_input_nodes
    found = [peaks[source] for source in (node, *sources) if isinstance(source, fx.Node) and source in peaks]
    if not all(peak <= HEADROOM for peak in found):
        return f"its values reach {max(found):.3g}, too near half precision's 65504"
    moving = (source for source in (node, *sources) if isinstance(source, fx.Node) and source.op != "get_attr")
    if 0.0 < (least := min((peak for source in moving if (peak := peaks.get(source, 0.0))), default=0.0)) < FLOOR:
        return f"its values stay within {least:.3g}, too small for half precision"
    return ""
