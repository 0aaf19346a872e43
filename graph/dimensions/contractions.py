"""How products tie axes: what is summed over must agree, what is kept passes through.

linear      y[…, o] = Σᵢ x[…, i] · W[o, i]                     x's last axis = W's columns; y's last = W's rows
conv        y[n, o, …] = Σ x[n, g(o), i, …] · W[o, i, …]       channels are a grid of groups × channels in a group
einsum      the same letter is the same axis
attention   q·kᵀ sums over the inner axis; q, k and v share heads, k and v positions
"""

from __future__ import annotations

import numpy as np
from torch import fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.labels import Vector
from compressor.graph.dimensions.walk import SLIDES, Axes, Walk
from compressor.graph.edit import argument

__all__ = ["attention", "conv", "conv_transpose", "einsum", "linear", "matmul"]

PLAIN = "multiplies a value that has no units"


def linear(walk: Walk, node: fx.Node) -> Axes:
    if op_name(node) == "addmm":  # bias + x · W
        bias, data, weight = (walk.of(node.args[i]) for i in range(3))
        walk.unite(node, data[-1], weight[0], PLAIN)
        shapes = [walk.shape(node.args[0]), walk.shape(node)]
        return _broadcast(walk, node, bias, (data[0], weight[1]), *shapes)
    data, weight, bias = walk.of(node.args[0]), walk.of(node.args[1]), walk.of(argument(node, "bias"))
    walk.unite(node, data[-1], weight[-1], PLAIN)
    if len(weight) == 1:
        return data[:-1]
    return (*data[:-1], _add(walk, node, bias, weight[0]))


def conv(walk: Walk, node: fx.Node) -> Axes:
    data, weight, bias = walk.of(node.args[0]), walk.of(node.args[1]), walk.of(argument(node, "bias"))
    groups, spatial = int(argument(node, "groups")), len(weight) - 2
    batched = len(data) == spatial + 2
    channels = data[1 if batched else 0]
    _spatial(walk, node, weight[2:])
    if groups == 1:
        walk.unite(node, channels, weight[1], PLAIN)
    else:
        shape = walk.shape(node.args[1])
        outer, inside = walk.split(node, "in", channels, (groups, shape[1]))
        rows, _ = walk.split(node, "out", weight[0], (groups, shape[0] // groups))
        walk.unite(node, inside, weight[1], PLAIN)
        walk.unite(node, outer, rows, PLAIN)
        walk.inner[node] = (outer,)
    _spatial(walk, node, data[-spatial:])
    out = _add(walk, node, bias, weight[0])
    return (*data[:1], out, *(None,) * spatial) if batched else (out, *(None,) * spatial)


def conv_transpose(walk: Walk, node: fx.Node) -> Axes:
    data, weight, bias = walk.of(node.args[0]), walk.of(node.args[1]), walk.of(argument(node, "bias"))
    groups, spatial = int(argument(node, "groups")), len(weight) - 2
    batched = len(data) == spatial + 2
    channels = data[1 if batched else 0]
    _spatial(walk, node, weight[2:])
    shape = walk.shape(node.args[1])
    walk.unite(node, channels, weight[0], PLAIN)
    _spatial(walk, node, data[-spatial:])
    out = weight[1]
    if groups > 1:
        outer, _ = walk.split(node, "in", weight[0], (groups, shape[0] // groups))
        walk.inner[node] = (outer,)
        sides = [side if side is not None else np.zeros(size, np.int64)
                 for side, size in ((outer, groups), (weight[1], shape[1]))]  # fmt: skip
        out = walk.labels.grid(sides)
    out = _add(walk, node, bias, out)
    return (*data[:1], out, *(None,) * spatial) if batched else (out, *(None,) * spatial)


def matmul(walk: Walk, node: fx.Node) -> Axes:
    extra: Axes = ()
    args = list(node.args)
    if op_name(node) in ("baddbmm", "addmv"):
        extra = walk.of(args.pop(0))
    one, two = walk.of(args[0]), walk.of(args[1])
    if op_name(node) not in ("matmul", "mm", "bmm", "mv", "dot", "baddbmm", "addmv"):
        walk.freeze_all(node, "is a product that is not looked into")
        return tuple(walk.unlabelled(node))  # type: ignore[arg-type]
    walk.unite(node, one[-1], two[-2] if len(two) > 1 else two[0], PLAIN)
    walk.contracted.add(node)
    batch = _broadcast(walk, node, one[:-2], two[:-2], walk.shape(args[0])[:-2], walk.shape(args[1])[:-2])
    rows = one[-2:-1] if len(one) > 1 else ()
    columns = two[-1:] if len(two) > 1 else ()
    out = (*batch, *rows, *columns)
    if extra:
        return _broadcast(walk, node, extra, out, walk.shape(node.args[0]), walk.shape(node))
    return out


def einsum(walk: Walk, node: fx.Node) -> Axes:
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    inputs, arrow, output = equation.partition("->")
    if "." in equation or not arrow:
        walk.freeze_all(node, "has an equation with implied indices")
        return tuple(walk.unlabelled(node))  # type: ignore[arg-type]
    walk.contracted.add(node)
    known: dict[str, Vector | None] = {}
    sizes: dict[str, int] = {}
    for term, operand in zip(inputs.split(","), operands, strict=True):  # type: ignore[arg-type]
        for letter, axis, size in zip(term, walk.of(operand), walk.shape(operand), strict=True):
            if letter in known and 1 not in (size, sizes[letter]):
                known[letter] = walk.unite(node, known[letter], axis, PLAIN)
            elif sizes.get(letter, 1) == 1:
                known[letter], sizes[letter] = axis, size
    return tuple(known[letter] for letter in output)


def attention(walk: Walk, node: fx.Node) -> Axes:
    query, key, value = (walk.of(node.args[i]) for i in range(3))
    shapes = [walk.shape(node.args[i]) for i in range(3)]
    walk.contracted.add(node)
    walk.unite(node, query[-1], key[-1], PLAIN)
    walk.freeze(node, walk.unite(node, key[-2], value[-2], PLAIN), "its weights share a sum of one")
    if argument(node, "is_causal"):
        walk.freeze(node, query[-2], "depends on the order along it")
    lead = _broadcast(walk, node, key[:-2], value[:-2], shapes[1][:-2], shapes[2][:-2])
    if argument(node, "enable_gqa") and shapes[0][-3] != shapes[1][-3]:
        repeats = shapes[0][-3] // shapes[1][-3]
        heads = lead[-1] if lead[-1] is not None else np.zeros(shapes[1][-3], np.int64)
        each = walk.fresh(node, "repeats", repeats)
        lead = (*lead[:-1], walk.labels.grid([heads, each if each is not None else np.zeros(repeats, np.int64)]))
        lead_shape = (*shapes[1][:-3], shapes[0][-3])
    else:
        lead_shape = shapes[1][:-2]
    lead = _broadcast(walk, node, query[:-2], lead, shapes[0][:-2], lead_shape)
    mask = argument(node, "attn_mask")
    scores = (*lead, query[-2], key[-2])
    if isinstance(mask, fx.Node):
        full = (*(max(a, b) for a, b in zip(shapes[0][:-2], lead_shape, strict=True)), shapes[0][-2], shapes[1][-2])
        _broadcast(walk, node, walk.of(mask), scores, walk.shape(mask), full)
    return (*lead, query[-2], value[-1])


def _spatial(walk: Walk, node: fx.Node, axes: Axes) -> None:
    for axis in axes:
        walk.freeze(node, axis, SLIDES)


def _add(walk: Walk, node: fx.Node, bias: Axes, out: Vector | None) -> Vector | None:
    return walk.unite(node, bias[-1], out, PLAIN) if bias else out


def _broadcast(walk: Walk, node: fx.Node, one: Axes, two: Axes, shape: tuple[int, ...], other: tuple[int, ...]) -> Axes:
    return walk.broadcast(node, [one, two], [shape, other], "meets a value that has no units")
