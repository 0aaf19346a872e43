"""Quantize and dequantize put into a program by hand: tests what reads such graphs without the pass that makes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.edit import add_tensor, attribute, finish, insert, substitute, tensor_of
from compressor.graph.program import Program
from compressor.quant.blocks import BLOCK_FORMATS, quantize_blocks

__all__ = ["dequantized", "quantized", "requantized_weights", "tied_int8", "with_blocks", "with_int8"]

SCALE = 0.05


def with_int8(program: Program, *names: str, weight_only: bool = False, output: bool = True) -> Program:
    """A copy whose named nodes read int8 weights and, unless `weight_only`, uint8 activations.

    `output` also quantizes what the node (or the relu after it) yields.
    """
    program = program.copy()
    for node in [node for node in program.nodes() if node.name in names]:
        node.replace_input_with(node.args[1], requantized_weights(program, node))  # type: ignore[arg-type]
        if weight_only:
            continue
        node.update_arg(0, dequantized(program, quantized(program, node.args[0], before=node), before=node))
        if output:
            last = next(iter(node.users)) if "relu" in next(iter(node.users)).name else node
            after = last.next
            pair = dequantized(program, quantized(program, last, before=after), before=after)
            last.replace_all_uses_with(pair, delete_user_cb=lambda user, pair=pair: user is not pair.args[0])
    return finish(program)


def with_blocks(program: Program, *names: str, format: str = "int4", block: int = 32, integer: bool = True) -> Program:
    """A copy whose named linear calls read weights in blocks."""
    program = program.copy()
    for node in [node for node in program.nodes() if node.name in names]:
        weight, name = tensor_of(program, node.args[1]), attribute(node.args[1])
        assert isinstance(weight, Tensor)
        blocks = quantize_blocks(weight, BLOCK_FORMATS[format], block)
        parts = ((f"{name}_packed", blocks.packed), (f"{name}_scale", blocks.scales))
        reads = [add_tensor(program, part, value, node, buffer=True) for part, value in parts]
        bias = node.args[2] if len(node.args) > 2 else None
        numbers = (blocks.format.bits, block, blocks.width, integer)
        target = torch.ops.compressor.linear_blocks.default
        substitute(program, node, insert(program, target, (node.args[0], *reads, bias, *numbers), like=node))
    return finish(program)


def tied_int8(program: Program) -> Program:
    """A copy whose one embedding and one linear call, tied to each other, read the same int8 codes."""
    program, aten = program.copy(), torch.ops.aten
    table, product = (
        next(n for n in program.nodes() if n.target is t) for t in (aten.embedding.default, aten.linear.default)
    )
    weight = requantized_weights(program, product)
    product.update_arg(1, weight)
    product.update_arg(0, dequantized(program, quantized(program, product.args[0], before=product), before=product))
    codes, scale = (
        add_tensor(program, name, tensor_of(program, node), table, buffer=True)  # type: ignore[arg-type]
        for name, node in (("rows", weight.args[0]), ("row_scales", weight.args[1]))
    )
    weight.update_arg(0, codes)
    weight.update_arg(1, scale)
    column = insert(program, aten.unsqueeze.default, (scale, 1), like=table)
    rows, scales = (insert(program, aten.embedding.default, (t, table.args[1]), like=table) for t in (codes, column))
    values = insert(program, aten.to.dtype, (rows, torch.float32), like=table)
    substitute(program, table, insert(program, aten.mul.Tensor, (values, scales), like=table))
    return finish(program)


def quantized(program: Program, x: Any, before: fx.Node) -> fx.Node:
    """x quantized to uint8, per tensor."""
    scale, zero = _scale(program, before)
    target = torch.ops.compressor.quantize.default
    return insert(program, target, (x, scale, zero, 0, 255, 0, torch.uint8), like=before)


def dequantized(program: Program, q: fx.Node, before: fx.Node) -> fx.Node:
    """q back in float, by its own scale and zero point."""
    return insert(program, torch.ops.compressor.dequantize.default, (q, *q.args[1:3], 0), like=before)


def requantized_weights(program: Program, node: fx.Node) -> fx.Node:
    """The node's weight as an int8 constant with a scale a row, dequantized."""
    weight, name = tensor_of(program, node.args[1]), attribute(node.args[1])
    assert isinstance(weight, Tensor)
    scale = weight.detach().abs().flatten(1).amax(1) / 127
    rows = torch.round(weight.detach() / scale.view(-1, *[1] * (weight.dim() - 1))).to(torch.int8)
    parts = (rows, scale, torch.zeros(len(scale), dtype=torch.int8))
    reads = [add_tensor(program, f"{name}_{i}", part, node, buffer=True) for i, part in enumerate(parts)]
    return insert(program, torch.ops.compressor.dequantize.default, (*reads, 0), like=node)


def _scale(program: Program, before: fx.Node) -> tuple[fx.Node, fx.Node]:
    scale = add_tensor(program, "scale", torch.tensor(SCALE), before, buffer=True)
    return scale, add_tensor(program, "zero", torch.tensor(0, dtype=torch.uint8), before, buffer=True)
