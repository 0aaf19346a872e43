"""Weights in blocks in the layout of our kernels, for a library of custom operators.

    linear_blocks(x, q, s, b), x in int8    →   linear_packed(x, q′, s′, b′, layout)
    embedding_blocks(q, ids, s)             →   embedding_packed(q′, s′, ids, layout)       where a product reads q, too

q′ and s′ are what `kernels/packing.py` makes of q and s, no bits more but for padding, and stored once where several
layers share them. Products in float, and weights that something else reads as well, stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.custom_op.ops import numbers_of
from compressor.export.kernels.blocks import packed_blocks
from compressor.export.kernels.packing import Packed, pack_outputs
from compressor.graph.edit import (
    add_tensor,
    argument,
    attribute,
    begin,
    finish,
    insert,
    is_call,
    read,
    substitute,
    tensor_of,
)
from compressor.graph.program import Program

if TYPE_CHECKING:
    from compressor.export.kernels.isa import Isa

__all__ = ["in_packed"]

ops = torch.ops.compressor
_LINEAR, _TABLE = ops.linear_blocks.default, ops.embedding_blocks.default


def in_packed(program: Program, isa: Isa) -> Program:
    """The program with packed weights for the kernels of an instruction set; itself where it has no such products."""
    copy = begin(program)
    wanted = _matrices(copy)
    if not wanted:
        return program
    stored: dict[tuple[str, str], tuple[str, str, Packed]] = {}
    for node in list(copy.nodes()):
        if is_call(node, _LINEAR, _TABLE) and attribute(argument(node, "packed")) in wanted:
            _rewrite(copy, node, isa, stored)
    return finish(copy)


def _matrices(program: Program) -> set[str]:
    """Names of codes that a product in integers reads, and nothing but such products and tables."""
    readers: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        for name in filter(None, map(attribute, node.all_input_nodes)):
            readers.setdefault(name, []).append(node)
    return {
        name
        for name, nodes in readers.items()
        if any(is_call(node, _LINEAR) for node in nodes) and all(_is_ours(program, node, name) for node in nodes)
    }


def _is_ours(program: Program, node: fx.Node, name: str) -> bool:
    """Whether the node takes the stored tensor as codes, and all else that it needs is stored as well."""
    if not is_call(node, _LINEAR, _TABLE) or attribute(argument(node, "packed")) != name:
        return False
    if tensor_of(program, argument(node, "scales")) is None:
        return False
    bias = argument(node, "bias")
    return is_call(node, _TABLE) or (
        bool(argument(node, "integer")) and (bias is None or tensor_of(program, bias) is not None)
    )


def _rewrite(program: Program, node: fx.Node, isa: Isa, stored: dict[tuple[str, str], tuple[str, str, Packed]]) -> None:
    codes, scales, packed = _stored(program, node, isa, stored)
    layout = numbers_of(packed.layout)
    if is_call(node, _TABLE):
        given: tuple[Any, ...] = (codes, scales, argument(node, "ids"), layout)
        made = insert(program, ops.embedding_packed.default, given, like=node)
    else:
        bias = tensor_of(program, argument(node, "bias"))
        held = None if bias is None else _add(program, f"{_base(node)}_bias", pack_outputs(bias, packed.layout), node)
        made = insert(program, ops.linear_packed.default, (argument(node, "x"), codes, scales, held, layout), like=node)
    substitute(program, node, made)


def _stored(
    program: Program, node: fx.Node, isa: Isa, stored: dict[tuple[str, str], tuple[str, str, Packed]]
) -> tuple[fx.Node, fx.Node, Packed]:
    """Nodes that read packed codes and scales before `node`; they are packed once."""
    names = tuple(str(attribute(argument(node, each))) for each in ("packed", "scales"))
    key = names[0], names[1]
    if key not in stored:
        codes, scales = (_tensor(program, argument(node, each)) for each in ("packed", "scales"))
        sizes: Mapping[str, int] = {each: argument(node, each) for each in ("bits", "block", "width")}
        packed = packed_blocks(isa, codes, scales, **sizes)
        parts = (("codes", packed.codes), ("scales", packed.scales))
        made = [_add(program, f"{_base(node)}_{part}", value, node) for part, value in parts]
        stored[key] = str(made[0].target), str(made[1].target), packed
        return made[0], made[1], packed
    codes_name, scales_name, packed = stored[key]
    return read(program, codes_name, node), read(program, scales_name, node), packed


def _base(node: fx.Node) -> str:
    """What the weight was called before its codes were."""
    return str(attribute(argument(node, "packed"))).removesuffix("_packed")


def _add(program: Program, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    return add_tensor(program, name, value, before, buffer=True)


def _tensor(program: Program, node: Any) -> Tensor:
    value = tensor_of(program, node)
    if value is None:
        raise TypeError(f"{node} is no stored tensor")
    return value.detach()
