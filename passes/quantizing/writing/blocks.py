"""Linear layers' weights and embeddings in blocks of 4 or 2 bits: which, why not the others, and the rewrite.

    linear(x, W, b)    →  linear_blocks(x, codes, scales, b)        one scale for `block` inputs of an output
                       →  … + linear_blocks(x, codes′, scales′)     ternary {min, 0, max} alone: two products, exactly
    embedding(W, ids)  →  embedding_blocks(codes, ids, scales)      for `block` values of a row

A convolution is a linear layer of what its window meets (`convolutions.py`). An embedding tied to the output layer
shares its codes.

Weight-only: without data, scales are searched and weights rounded to nearest (`quant/grids.py`). Where the target
multiplies int8 faster than fp32, its kernels also round the activations to int8, with a scale a block of each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.errors import InputError, RecipeError
from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.edit import add_tensor, insert, read, set_tensor, substitute
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.support import block_setting, refusal
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.passes.quantizing.codes.solving import round_as
from compressor.passes.quantizing.codes.weights import matrix_of
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.settings import block_of, format_of
from compressor.passes.quantizing.sites import Layer, find_layers, rank
from compressor.passes.quantizing.ties import other_readers, tied_groups
from compressor.passes.quantizing.writing.convolutions import back, join_layouts, rows_of, unfit_convolution
from compressor.quant.blocks import BLOCK_FORMATS, Blocks, block_bytes, blocks_of
from compressor.quant.formats import ranges
from compressor.quant.solvers.rounding import Rounded

__all__ = [
    "BlockPlan",
    "apply_blocks",
    "block_settings",
    "misfit",
    "plan_blocks",
]

KINDS = ("linear", "matmul", "conv", "embedding")
TABLE_BITS = 4  # BitNet b1.58 (arXiv:2402.17764) keeps embeddings in high precision; four bits cost a GPT 0.4%
_OTHERS = {"conv_transpose": "a transposed convolution"}
_BLOCKS = torch.ops.compressor
_NOTHING: Mapping[str, Rounded] = {}


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
            rounded = _rounded(weight, setting)
            parts = 1 if rounded.grid.below is None else 2
            size = parts * block_bytes(len(weight), weight.shape[1], rounded.grid.format, rounded.grid.block)
            damage = relative_error(weight, rounded.values)
            found.append(Option(layer.name, {"format": "fp32"}, 4 * weight.numel(), damage=0.0))
            found.append(
                Option(
                    layer.name,
                    setting,
                    size,
                    damage=damage,
                    level=f"{setting['format']} in blocks of {setting['block']}",
                )
            )
        return found


def plan_blocks(
    program: Program, context: Context, format: str, block: int, rounding: Rounding, keep: Sequence[str] = ()
) -> BlockPlan:
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
                plan.settings[layer.name] = block_settings(context, layer, format, block, rounding)
    return plan


def misfit(program: Program, layer: Layer, format: str, block: int, tied: Sequence[Layer] = ()) -> str:
    """Why a layer cannot have its weight in blocks; empty where it can. `tied` layers would share the codes."""
    if layer.kind not in KINDS:
        return f"blocks are for linear layers, convolutions and embeddings; this is {_OTHERS[layer.kind]}"
    if layer.kind == "conv" and (reason := unfit_convolution(program, layer, block)):
        return f"blocks are for linear layers, dense convolutions of whole blocks and embeddings; {reason}"
    if layer.kind == "embedding" and BLOCK_FORMATS[format].bits < TABLE_BITS:
        return f"less than {TABLE_BITS} bits cost an embedding too much accuracy"
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


def block_settings(context: Context, layer: Layer, format: str, block: int, rounding: Rounding) -> Setting:
    """A layer's setting in a format of blocks; nothing is summed up over what an embedding reads."""
    how = replace(rounding, solver="mse", bias="none") if layer.kind == "embedding" else rounding
    return {**block_setting(context.target, format, block, layer.kind), **how.setting(format)}


def apply_blocks(
    program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting],
    solved: Mapping[str, Rounded] = _NOTHING, *, blank: bool = False,
) -> list[str]:  # fmt: skip
    """Rewrite an already copied, functional program; the names of the weights that became blocks.

    Layers tied to each other read one set of codes. `solved` are codes found on data, by layer; the others are found
    here. `blank`: codes of the right sizes and no values, for what it would cost. Raises RecipeError for a setting that
    its layer cannot have.
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
        found = _parts(matrix_of(program, group[0]), own[0], solved.get(group[0].name), blank=blank)
        _rewrite(program, group, found, ["activation" in setting for setting in own])
        changed += list(dict.fromkeys(layer.weight for layer in group))
    join_layouts(program)
    return changed


def _rewrite(program: Program, group: Sequence[Layer], parts: Sequence[Blocks], integer: Sequence[bool]) -> None:
    """Every call of tied layers reads the codes, which stand where the first one's weight was; of two matrices of codes
    the products are added."""
    shape = program.get(group[0].weight).shape
    stored = _stored(program, group, parts)
    for layer, rounded in zip(group, integer, strict=True):
        for node in layer.nodes:
            x = layer.data(node)
            x = rows_of(program, node, x, shape[2:]) if layer.kind == "conv" else x
            total: fx.Node | None = None
            for names, blocks in zip(stored, parts, strict=True):
                codes, scales = (read(program, name, node) for name in names)
                numbers = (blocks.format.stored_bits, blocks.block, blocks.width)
                if layer.kind == "embedding":
                    value = insert(program, _BLOCKS.embedding_blocks.default, (codes, x, scales, *numbers), like=node)
                else:
                    args = (x, codes, scales, layer.bias(node) if total is None else None, *numbers, rounded)
                    value = insert(program, _BLOCKS.linear_blocks.default, args, like=node)
                add = torch.ops.aten.add.Tensor
                total = value if total is None else insert(program, add, (total, value), like=node)
            if total is not None:
                substitute(program, node, back(program, node, total) if layer.kind == "conv" else total)


def _stored(program: Program, group: Sequence[Layer], parts: Sequence[Blocks]) -> list[tuple[str, str]]:
    """The names under which codes and scales are stored."""
    weight, first = group[0].weight, min(node for layer in group for node in layer.nodes)
    names: list[tuple[str, str]] = []
    for blocks in parts:
        name = weight
        if names:
            name = str(add_tensor(program, f"{weight}_sizes", blocks.packed, first).target)
        else:
            set_tensor(program, name, blocks.packed)
        scale = add_tensor(program, f"{name}_scale", blocks.scales, first, buffer=True)
        names.append((name, str(scale.target)))
    return names


def _rounded(weight: Tensor, setting: Setting) -> Rounded:
    return round_as(weight.unsqueeze(0), setting, None)


def _parts(weight: Tensor, setting: Setting, solved: Rounded | None, *, blank: bool) -> tuple[Blocks, ...]:
    """A weight as the runtime reads it; two matrices where ternary codes have two scales."""
    if not blank:
        found = solved or _rounded(weight, setting)
        return blocks_of(found.codes, found.grid)
    format, block = BLOCK_FORMATS[format_of(setting)], block_of(setting)
    count = -(-weight.shape[1] // block)
    packed = torch.zeros(len(weight), count, block * format.stored_bits // 8, dtype=torch.uint8)
    blocks = Blocks(packed, torch.ones(len(weight), count), format, block, weight.shape[1])
    return (blocks,) * (2 if setting.get("rule") == "minmax" else 1)
