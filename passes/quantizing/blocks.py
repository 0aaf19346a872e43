"""Linear layers' weights in blocks of 4 or 2 bits: which layers, why not the others, and the rewrite.

    linear(x, W, b)  →  linear_blocks(x, codes, scales, b)        one scale for `block` inputs of an output

Weight-only, rounded to nearest with searched scales (`quant/blocks.py`): no data is needed. Where the target
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
from compressor.passes.quantizing.learned import NOTHING, Learned
from compressor.passes.quantizing.settings import block_of, format_of
from compressor.passes.quantizing.sites import Layer, find_layers, rank
from compressor.passes.quantizing.support import block_setting, refusal, slow_note
from compressor.passes.quantizing.weights import storage_key
from compressor.quant.blocks import BLOCK_FORMATS, Blocks, block_bytes, dequantize_blocks, quantize_blocks
from compressor.quant.formats import ranges

__all__ = ["BlockPlan", "apply_blocks", "matrix_of", "misfit", "plan_blocks"]

KINDS = ("linear", "matmul")
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
            weight, setting = matrix_of(program, layer), self.settings[layer.name]
            blocks = _blocks(weight, setting)
            size = block_bytes(len(weight), blocks.width, blocks.format, blocks.block)
            damage = relative_error(weight, dequantize_blocks(blocks))
            found.append(Option(layer.name, {"format": "fp32"}, 4 * weight.numel(), damage=0.0))
            found.append(Option(layer.name, setting, size, damage=damage))
        return found


def plan_blocks(program: Program, context: Context, format: str, block: int, keep: Sequence[str] = ()) -> BlockPlan:
    """Plan int4 or int2 for a functional program; nothing where the target's runtime has no such product."""
    if reason := refusal(context.target, format):
        return BlockPlan(skipped=[Skip("weights", f"stay float: {reason}")])
    layers, skipped = find_layers(program, keep)
    plan = BlockPlan(skipped=skipped)
    for layer in layers:
        if reason := misfit(program, layer, format, block):
            plan.skipped.append(Skip(layer.name, reason))
        else:
            plan.layers.append(layer)
            plan.settings[layer.name] = block_setting(context.target, format, block)
    note = slow_note(context.target, format)
    plan.notes = (note,) if note and plan.settings else ()
    return plan


def misfit(program: Program, layer: Layer, format: str, block: int) -> str:
    """Why a layer cannot have its weight in blocks; empty where it can."""
    if layer.kind not in KINDS:
        return f"{format} is for linear layers; this is {_OTHERS[layer.kind]}"
    weight = matrix_of(program, layer)
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
    program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting], learned: Learned = NOTHING
) -> list[str]:
    """Rewrite an already copied, functional program; the names of the weights that became blocks.

    Raises RecipeError for a setting that its layer cannot have.
    """
    changed = []
    for layer in layers:
        if layer.name in settings:
            setting = settings[layer.name]
            if reason := misfit(program, layer, format_of(setting), block_of(setting)):
                raise RecipeError(f"{format_of(setting)} cannot be: {reason}", where=f"quantize: site {layer.name!r}")
            made = learned.blocks.get(layer.name) or _blocks(matrix_of(program, layer), setting)
            _rewrite(program, layer, setting, made)
            changed.append(layer.weight)
    return changed


def _rewrite(program: Program, layer: Layer, setting: Setting, blocks: Blocks) -> None:
    set_tensor(program, layer.weight, blocks.packed)
    scale = str(add_tensor(program, f"{layer.weight}_scale", blocks.scales, layer.nodes[0], buffer=True).target)
    numbers = (blocks.format.bits, blocks.block, blocks.width, "activation" in setting)
    for node in layer.nodes:
        stored = (read(program, name, node) for name in (layer.weight, scale))
        args = (layer.data(node), *stored, layer.bias(node), *numbers)
        substitute(program, node, insert(program, torch.ops.compressor.linear_blocks.default, args, like=node))


def matrix_of(program: Program, layer: Layer) -> Tensor:
    """The weight as (outputs, inputs)."""
    weight: Tensor = program.get(layer.weight).detach()
    return weight if layer.axis == 0 else weight.T


def _blocks(weight: Tensor, setting: Setting) -> Blocks:
    return quantize_blocks(weight, BLOCK_FORMATS[format_of(setting)], block_of(setting))


def _others(program: Program, layer: Layer) -> set[fx.Node]:
    """What reads the weight's memory besides this layer's calls."""
    key = storage_key(program.get(layer.weight))
    readers: set[fx.Node] = set()
    for node in program.graph.nodes:
        stored = tensor_of(program, node)
        if stored is not None and (attribute(node) == layer.weight or storage_key(stored) == key):
            readers.update(node.users)
    return readers.difference(layer.nodes)
