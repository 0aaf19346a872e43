"""Convolutions as matrix products, so that their weights can be stored in blocks of few bits.

    conv(x, W)  →  permute(linear_blocks(permute(x), codes, scales))             W (O, I, 1, 1), channels last and back
                →  permute(linear_blocks(patches(permute(x)), codes, scales))    of larger kernels, and of padded ones

A pointwise one's stride takes every s-th position first: x[:, :, ::s, ::s]. Rows of larger ones are what their windows
meet, place by place, each with all its channels (`quant/windows.py`); those are whole blocks, so that every pixel is
rounded in the same way wherever it is met. What only computes value by value is then done with the channels last
(permute ∘ f = f ∘ permute), so that between two such products nothing is moved: a permutation that meets its inverse
goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.concrete import op_name
from compressor.graph.edit import argument, insert, is_call, permutation, sole_user, substitute
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer, rank
from compressor.passes.reading.matrix import padding_of

__all__ = ["back", "join_layouts", "rows_of", "unfit_convolution"]

aten = torch.ops.aten
_END = 2**63 - 1  # of a slice: to the last
_NAMES = """
relu relu6 hardtanh clamp clip hardswish hardsigmoid silu gelu sigmoid tanh leaky_relu elu mish neg abs dropout clone
contiguous exp sqrt softplus
"""
_BY_VALUE = frozenset(_NAMES.split())
_PAIRWISE = (aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor)


def unfit_convolution(program: Program, layer: Layer, block: int) -> str:
    """Why a convolution is no matrix product of rows in blocks of so many inputs; empty where it is one."""
    weight = program.get(layer.weight)
    for node in layer.nodes:
        groups = argument(node, "groups")
        if groups != 1:
            depthwise = groups == weight.shape[0] and weight.shape[1] == 1
            return f"this is a {'depthwise convolution' if depthwise else f'convolution of {groups} groups'}"
        if rank(layer.data(node)) != weight.dim():
            return "this is a convolution without a batch"
        if weight.shape[1] % block and not _is_pointwise(node, weight):
            size = "×".join(map(str, weight.shape[2:]))
            return f"this is a convolution of {size}, and its {weight.shape[1]} channels are no whole blocks of {block}"
    return ""


def rows_of(program: Program, node: fx.Node, x: fx.Node, sizes: Sequence[int]) -> fx.Node:
    """A convolution's input (N, C, …) → (N, …, ∏ sizes · C): what a kernel of `sizes` meets at the places it takes."""
    axes = rank(x) - 2
    stride, spread = (_each(argument(node, name), axes) for name in ("stride", "dilation"))
    spans = [step * (size - 1) + 1 for step, size in zip(spread, sizes, strict=True)]
    padding = padding_of(argument(node, "padding"), spans)
    rows = math.prod(sizes) == 1 and not any(padding)
    for axis, step in enumerate(stride if rows else (), 2):
        if step > 1:
            x = insert(program, aten.slice.Tensor, (x, axis, 0, _END, step), like=node)
    last = insert(program, aten.permute.default, (x, [0, *range(2, rank(x)), 1]), like=node)
    if rows:
        return last
    shape = list(sizes), stride, padding, spread
    return insert(program, torch.ops.compressor.patches.default, (last, *shape), like=node)


def back(program: Program, node: fx.Node, product: fx.Node) -> fx.Node:
    """(N, …, C) → (N, C, …), as the convolution yields it."""
    last = rank(product) - 1
    return insert(program, aten.permute.default, (product, [0, last, *range(1, last)]), like=node)


def join_layouts(program: Program) -> None:
    """Move the permutations behind linear_blocks past what computes value by value, and drop what cancels.

    What nothing reads any more is left to `finish`. A view does not take the strides that a permutation leaves.
    """
    moved = [n for n in program.nodes() if _is_back(n)]
    for node in program.nodes() if moved else ():
        if is_call(node, aten.view.default):
            node.target = aten.reshape.default
    while moved:
        node = moved.pop(0)
        for user in [user for user in node.users if permutation(user) is not None]:
            _compose(program, node, user)
        if (reader := sole_user(node)) is not None:
            moved += _past(program, node, reader)


def _is_back(node: fx.Node) -> bool:
    source = node.args[0] if node.args else None
    return permutation(node) is not None and is_call(source, torch.ops.compressor.linear_blocks.default)


def _compose(program: Program, first: fx.Node, second: fx.Node) -> None:
    """permute(permute(x, a), b) → permute(x, a∘b), or x itself."""
    one, two = permutation(first) or [], permutation(second) or []
    order, source = [one[axis] for axis in two], first.all_input_nodes[0]
    if order == list(range(len(order))):
        second.replace_all_uses_with(source)
        program.graph.erase_node(second)
    else:
        substitute(program, second, insert(program, aten.permute.default, (source, order), like=second))


def _past(program: Program, node: fx.Node, user: fx.Node) -> list[fx.Node]:
    """f(permute(x)) → permute(f(x)); the new permutation, or nothing where f is no such operator."""
    order = permutation(node)
    if is_call(user, *_PAIRWISE):
        others = [given for given in user.args[:2] if given is not node]
        alike = [isinstance(o, fx.Node) and permutation(o) == order and sole_user(o) is user for o in others]
        if not others or not all(alike):
            return []
    elif op_name(user) not in _BY_VALUE or user.args[:1] != (node,) or user.all_input_nodes != [node]:
        return []
    args = [given.args[0] if isinstance(given, fx.Node) else given for given in user.args]
    kwargs = {key: value for key, value in user.kwargs.items() if key != "memory_format"}
    computed = insert(program, user.target, args, like=user, kwargs=kwargs)  # type: ignore[arg-type]
    after = insert(program, aten.permute.default, (computed, order), like=user)
    substitute(program, user, after)
    return [after]


def _is_pointwise(node: fx.Node, weight: Tensor) -> bool:
    """Whether rows are pixels of the input as it is."""
    padding = argument(node, "padding")
    return math.prod(weight.shape[2:]) == 1 and (isinstance(padding, str) or not any(_each(padding, 1)))


def _each(sizes: object, axes: int) -> list[int]:
    found = [int(size) for size in sizes] if isinstance(sizes, list | tuple) else [int(sizes)]  # type: ignore[call-overload]
    return found * axes if len(found) == 1 else found
