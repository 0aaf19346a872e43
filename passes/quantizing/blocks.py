"""Linear layers' weights and embeddings in blocks of 4 or 2 bits: which, why not the others, and the rewrite.

    linear(x, W, b)    →  linear_blocks(x, codes, scales, b)        one scale for `block` inputs of an output
    embedding(W, ids)  →  embedding_blocks(codes, ids, scales)      for `block` values of a row

A pointwise convolution is a linear layer of its channels (`pointwise.py`). An embedding tied to the output layer shares
its codes.

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
from compressor.passes.quantizing.pointwise import back, join_layouts, rows_of, unfit_convolution
from compressor.passes.quantizing.settings import block_of, format_of
from compressor.passes.quantizing.sites import Layer, find_layers, rank
from compressor.passes.quantizing.support import block_setting, refusal
from compressor.passes.quantizing.weights import storage_key
from compressor.quant.blocks import BLOCK_FORMATS, Blocks, block_bytes, dequantize_blocks, quantize_blocks
from compressor.quant.formats import ranges

__all__ = ["BlockPlan", "apply_blocks", "matrix_of", "misfit", "other_readers", "plan_blocks", "tied_groups"]

KINDS = ("linear", "matmul", "conv", "embedding")
TABLE_BITS = 4  # BitNet b1.58 (arXiv:2402.17764) keeps embeddings in high precision; four bits cost a GPT 0.4%
_OTHERS = {"conv_transpose": "a transposed convolution"}
_BLOCKS = torch.ops.compressor


@dataclass
class BlockPlan:
    """Settings by layer, all with one format and block, and what was declined."""

    layers: list[Layer] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)

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
    """Which layers of a functional program the format is for; none where the target's runtime has no such product."""
    layers, skipped = find_layers(program, keep)
    plan = BlockPlan(skipped=skipped)
    for group in tied_groups(program, layers):
        for layer in group:
            reason = refusal(context.target, format, layer.kind) or misfit(program, layer, format, block, group)
            if reason:
                plan.skipped.append(Skip(layer.name, reason))
            else:
                plan.layers.append(layer)
                plan.settings[layer.name] = block_setting(context.target, format, block, layer.kind)
    return plan


def misfit(program: Program, layer: Layer, format: str, block: int, tied: Sequence[Layer] = ()) -> str:
    """Why a layer cannot have its weight in blocks; empty where it can. `tied` layers would share the codes."""
    if layer.kind not in KINDS:
        return f"{format} is for linear layers; this is {_OTHERS[layer.kind]}"
    if layer.kind == "conv" and (reason := unfit_convolution(program, layer)):
        return f"{format} is for linear layers and pointwise convolutions; {reason}"
    if layer.kind == "embedding" and BLOCK_FORMATS[format].bits < TABLE_BITS:
        return f"{format} costs an embedding too much accuracy; it has {TABLE_BITS} bits at least"
    weight = matrix_of(program, layer)
    if weight.shape[1] < block:
        return f"its {weight.shape[1]} inputs are fewer than a block of {block}"
    if any(other.axis != layer.axis for other in tied):
        return "it shares its weight with a layer that reads it transposed"
    if other_readers(program, [layer, *tied]):
        return "its weight is tied to another layer, which needs it in float"
    for node in layer.nodes:
        bias = layer.bias(node)
        rows = rank(layer.data(node)) >= 2 or layer.kind == "embedding"
        known = not node.kwargs or layer.kind in ("conv", "embedding")
        if not (known and rows) or (bias and bias.meta["val"].shape != weight.shape[:1]):
            return f"{format} products take rows of inputs and one bias an output"
    try:
        ranges(weight)
    except InputError as error:
        return error.what
    return ""


def tied_groups(program: Program, layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers that read the same memory, together, in order."""
    groups: dict[tuple[int, ...], list[Layer]] = {}
    for layer in layers:
        groups.setdefault(storage_key(program.get(layer.weight)), []).append(layer)
    return list(groups.values())


def apply_blocks(
    program: Program,
    layers: Sequence[Layer],
    settings: Mapping[str, Setting],
    learned: Learned = NOTHING,
    *,
    blank: bool = False,
) -> list[str]:
    """Rewrite an already copied, functional program; the names of the weights that became blocks.

    Layers tied to each other read one set of codes. `blank`: with codes of the right sizes and no values, for what it
    would cost. Raises RecipeError for a setting that its layer cannot have.
    """
    changed = []
    for group in tied_groups(program, [layer for layer in layers if layer.name in settings]):
        own = [settings[layer.name] for layer in group]
        for layer, setting in zip(group, own, strict=True):
            reason = misfit(program, layer, format_of(setting), block_of(setting), group)
            if (format_of(setting), block_of(setting)) != (format_of(own[0]), block_of(own[0])):
                reason = f"it shares its weight with {group[0].name}, which has another format"
            if reason:
                raise RecipeError(f"{format_of(setting)} cannot be: {reason}", where=f"quantize: site {layer.name!r}")
        made = learned.blocks.get(group[0].name)
        blocks = made or (_blank if blank else _blocks)(matrix_of(program, group[0]), own[0])
        _rewrite(program, group, blocks, ["activation" in setting for setting in own])
        changed += list(dict.fromkeys(layer.weight for layer in group))
    join_layouts(program)
    return changed


def _rewrite(program: Program, group: Sequence[Layer], blocks: Blocks, integer: Sequence[bool]) -> None:
    """Every call of tied layers reads the codes, which stand where the first one's weight was."""
    weight = group[0].weight
    first = min(node for layer in group for node in layer.nodes)
    set_tensor(program, weight, blocks.packed)
    scale = str(add_tensor(program, f"{weight}_scale", blocks.scales, first, buffer=True).target)
    numbers = (blocks.format.bits, blocks.block, blocks.width)
    for layer, rounded in zip(group, integer, strict=True):
        for node in layer.nodes:
            codes, scales = (read(program, name, node) for name in (weight, scale))
            x = layer.data(node)
            if layer.kind == "embedding":
                value = insert(program, _BLOCKS.embedding_blocks.default, (codes, x, scales, *numbers), like=node)
            else:
                x = rows_of(program, node, x) if layer.kind == "conv" else x
                args = (x, codes, scales, layer.bias(node), *numbers, rounded)
                value = insert(program, _BLOCKS.linear_blocks.default, args, like=node)
                value = back(program, node, value) if layer.kind == "conv" else value
            substitute(program, node, value)


def matrix_of(program: Program, layer: Layer) -> Tensor:
    """The weight as (outputs, inputs)."""
    weight: Tensor = program.get(layer.weight).detach()
    return weight.flatten(1) if layer.axis == 0 else weight.T


def _blocks(weight: Tensor, setting: Setting) -> Blocks:
    return quantize_blocks(weight, BLOCK_FORMATS[format_of(setting)], block_of(setting))


def _blank(weight: Tensor, setting: Setting) -> Blocks:
    format, block = BLOCK_FORMATS[format_of(setting)], block_of(setting)
    count = -(-weight.shape[1] // block)
    packed = torch.zeros(len(weight), count, block * format.bits // 8, dtype=torch.uint8)
    return Blocks(packed, torch.ones(len(weight), count), format, block, weight.shape[1])


def other_readers(program: Program, layers: Sequence[Layer]) -> set[fx.Node]:
    """What reads the first layer's memory besides these layers' calls."""
    key = storage_key(program.get(layers[0].weight))
    readers: set[fx.Node] = set()
    for node in program.graph.nodes:
        stored = tensor_of(program, node)
        if stored is not None and (attribute(node) == layers[0].weight or storage_key(stored) == key):
            readers.update(node.users)
    return readers.difference(*(layer.nodes for layer in layers))
