"""Linear layers' weights in blocks of 4 or 2 bits: which layers, why not the others, and the rewrite.

    linear(x, W, b)  →  linear_blocks(x, codes, scales, b)        one scale for `block` inputs of an output
                     →  … + linear_blocks(x, codes′, scales′)     ternary {min, 0, max} alone: two products, exactly

Weight-only: without data, scales are searched and weights rounded to nearest (`quant/grids.py`). Where the target
multiplies int8 faster than fp32, its kernels also round the activations to int8, with a scale a block of each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.errors import InputError, RecipeError
from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.edit import add_tensor, attribute, insert, read, set_tensor, substitute, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.rounding import Rounding
from compressor.passes.quantizing.settings import block_of, format_of
from compressor.passes.quantizing.sites import Layer, find_layers, rank
from compressor.passes.quantizing.solving import round_as
from compressor.passes.quantizing.support import block_setting, refusal, slow_note
from compressor.passes.quantizing.weights import storage_key
from compressor.quant.blocks import block_bytes, blocks_of
from compressor.quant.formats import ranges
from compressor.quant.solvers.rounding import Rounded

__all__ = ["BlockPlan", "apply_blocks", "misfit", "plan_blocks"]

KINDS = ("linear", "matmul")
_TWICE = "{min, 0, max} takes two ternary products a layer, twice the bytes and the time of rule=fitted"
_OTHERS = {"conv": "a convolution", "conv_transpose": "a transposed convolution", "embedding": "an embedding"}


@dataclass
class BlockPlan:
    """Settings by layer, all with one format and block, what was declined, and what the user should know."""

    layers: list[Layer] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def options(self, program: Program) -> list[Option]:
        """Each layer left alone, and in blocks, with the relative error of its weight."""
        found = []
        for layer in self.layers:
            weight, setting = _matrix(program, layer), self.settings[layer.name]
            rounded = _rounded(weight, setting)
            parts = 1 if rounded.grid.below is None else 2
            size = parts * block_bytes(len(weight), weight.shape[1], rounded.grid.format, rounded.grid.block)
            damage = relative_error(weight, rounded.values)
            found.append(Option(layer.name, {"format": "fp32"}, 4 * weight.numel(), damage=0.0))
            found.append(Option(layer.name, setting, size, damage=damage))
        return found


def plan_blocks(
    program: Program, context: Context, format: str, block: int, rounding: Rounding, keep: Sequence[str] = ()
) -> BlockPlan:
    """Plan a format of few bits for a functional program; nothing where the target's runtime has no such product."""
    if reason := refusal(context.target, format):
        return BlockPlan(skipped=[Skip("weights", f"stay float: {reason}")])
    layers, skipped = find_layers(program, keep)
    plan = BlockPlan(skipped=skipped)
    for layer in layers:
        if reason := misfit(program, layer, format, block):
            plan.skipped.append(Skip(layer.name, reason))
        else:
            plan.layers.append(layer)
            found = block_setting(context.target, format, block)
            plan.settings[layer.name] = {**found, **rounding.setting(format)}
    notes = (slow_note(context.target, format), _TWICE if rounding.rule == "minmax" else "")
    plan.notes = tuple(filter(None, notes)) if plan.settings else ()
    return plan


def misfit(program: Program, layer: Layer, format: str, block: int) -> str:
    """Why a layer cannot have its weight in blocks; empty where it can."""
    if layer.kind not in KINDS:
        return f"{format} is for linear layers; this is {_OTHERS[layer.kind]}"
    weight = _matrix(program, layer)
    if weight.shape[1] < block:
        return f"its {weight.shape[1]} inputs are fewer than a block of {block}"
    if _others(program, layer):
        return "its weight is tied to another layer, which needs it in float"
    for node in layer.nodes:
        bias = layer.bias(node)
        if node.kwargs or rank(layer.data(node)) < 2 or (bias and bias.meta["val"].shape != weight.shape[:1]):
            return f"{format} products take rows of inputs and one bias an output"
    try:
        ranges(weight)
    except InputError as error:
        return error.what
    return ""


def apply_blocks(
    program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting], solved: Mapping[str, Rounded]
) -> list[str]:
    """Rewrite an already copied, functional program; the names of the weights that became blocks.

    `solved` are codes found on data, by layer; the others are found here.

    Raises RecipeError for a setting that its layer cannot have.
    """
    changed = []
    for layer in layers:
        if layer.name in settings:
            setting = settings[layer.name]
            if reason := misfit(program, layer, format_of(setting), block_of(setting)):
                raise RecipeError(f"{format_of(setting)} cannot be: {reason}", where=f"quantize: site {layer.name!r}")
            found = solved.get(layer.name) or _rounded(_matrix(program, layer), setting)
            _rewrite(program, layer, found, integer="activation" in setting)
            changed.append(layer.weight)
    return changed


def _rewrite(program: Program, layer: Layer, found: Rounded, *, integer: bool) -> None:
    parts = blocks_of(found.codes, found.grid)
    names: list[tuple[str, str]] = []
    for blocks in parts:
        name = layer.weight
        if names:
            name = str(add_tensor(program, f"{layer.weight}_sizes", blocks.packed, layer.nodes[0]).target)
        else:
            set_tensor(program, name, blocks.packed)
        scale = add_tensor(program, f"{name}_scale", blocks.scales, layer.nodes[0], buffer=True)
        names.append((name, str(scale.target)))
    numbers = (parts[0].format.stored_bits, parts[0].block, parts[0].width, integer)
    for node in layer.nodes:
        data, bias, total = layer.data(node), layer.bias(node), None
        for pair in names:
            args = (data, *(read(program, name, node) for name in pair), bias if total is None else None, *numbers)
            product = insert(program, torch.ops.compressor.linear_blocks.default, args, like=node)
            total = (
                product if total is None else insert(program, torch.ops.aten.add.Tensor, (total, product), like=node)
            )
        if total is not None:
            substitute(program, node, total)


def _matrix(program: Program, layer: Layer) -> Tensor:
    """The weight as (outputs, inputs)."""
    weight: Tensor = program.get(layer.weight).detach()
    return weight if layer.axis == 0 else weight.T


def _rounded(weight: Tensor, setting: Setting) -> Rounded:
    return round_as(weight.unsqueeze(0), setting, None)


def _others(program: Program, layer: Layer) -> set[fx.Node]:
    """What reads the weight's memory besides this layer's calls."""
    key = storage_key(program.get(layer.weight))
    readers: set[fx.Node] = set()
    for node in program.graph.nodes:
        stored = tensor_of(program, node)
        if stored is not None and (attribute(node) == layer.weight or storage_key(stored) == key):
            readers.update(node.users)
    return readers.difference(layer.nodes)
