"""Layers replaced by thinner ones in a row, in the graph.

    linear(x, W, b)    →  linear(linear(x, V), U, b)              conv(x, W, b)  →  conv1×1(conv(x, V), U, b)
    embedding(i, E)    →  linear(embedding(i, U), Vᵀ)             Tucker-2: conv1×1(conv(conv1×1(x, V), C), U, b)
    butterfly          →  linear(linear(x, V), U, b) + matmul(the blocks of x that each block row reads, B)

New tensors are called after the old: `fc.weight` becomes `fc.first.weight` and `fc.second.weight`, for Tucker-2 with
`fc.core.weight` between them, for a butterfly `fc.blocks.weight` and `fc.blocks.columns` beside them. Where an
embedding is tied to linear layers, all calls read the same two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.edit import add_tensor, argument, insert, substitute
from compressor.graph.program import Program
from compressor.passes.factorizing.butterfly import BLOCK, Butterfly, pattern
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.solve import Parts
from compressor.passes.factorizing.svd import Factors
from compressor.passes.factorizing.tucker import Tucker

__all__ = ["blank", "rewrite"]

aten = torch.ops.aten
Join = Callable[[fx.Node, fx.Node], fx.Node]
_CONVOLUTIONS: dict[int, Callable[..., Any]] = {
    1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default,
}  # fmt: skip


def blank(site: Site, choice: Choice) -> Parts:
    """Parts of a choice's sizes, to predict what they would cost. They are ones: zeros might count as sparse."""
    shape = site.shape
    first, second = torch.ones(choice.rank, shape.inputs), torch.ones(shape.outputs, choice.rank)
    if choice.blocks:
        columns = pattern(shape.outputs, shape.inputs, choice.blocks)
        return Butterfly(first, second, torch.ones(len(columns), choice.blocks * BLOCK, BLOCK), columns)
    if not choice.inner:
        return Factors(first, second)
    core = torch.ones(choice.rank, shape.positions * choice.inner)
    return Tucker(torch.ones(choice.inner, shape.channels), core, second)


def rewrite(
    program: Program, site: Site, parts: Parts, bias: Tensor | None = None, join: Join | None = None
) -> tuple[str, ...]:
    """Replace all calls of a site in a program under way (`edit.begin`); the names of the new weights.

    `bias` is the new one; without it each call keeps its own. `join` says what to read in place of a call, given it and
    what its thin layers compute, where that is not the latter alone.
    """
    before = site.nodes[0]
    weights = _weights(program, site, parts)
    stored = {role: add_tensor(program, f"{site.stem}{role}.weight", w, before) for role, w in weights.items()}
    names = tuple(str(node.target) for node in stored.values())
    if isinstance(parts, Butterfly):
        stored["columns"] = add_tensor(program, f"{site.stem}blocks.columns", parts.columns.flatten(), before)
    if bias is None and site.bias:
        bias = program.get(site.bias).detach()
    new_bias = None if bias is None else add_tensor(program, f"{site.stem}second.bias", bias.float(), before)
    for node in site.nodes:
        layer = site.layer(node)
        added = layer.bias(node) if new_bias is None else new_bias
        if layer.kind == "embedding":
            result = _embedding(program, node, stored, tied=site.kind == "tied")
        elif layer.kind == "conv":
            result = _convolution(program, node, stored, added)
        else:
            thin = insert(program, aten.linear.default, (layer.data(node), stored["first"]), like=node)
            result = insert(program, aten.linear.default, (thin, stored["second"], added), like=node)
        if "blocks" in stored:
            sparse = _blocks(program, node, layer.data(node), stored["blocks"], stored["columns"])
            result = insert(program, aten.add.Tensor, (result, sparse), like=node)
        substitute(program, node, result if join is None else join(node, result))
    return names


def _weights(program: Program, site: Site, parts: Parts) -> dict[str, Tensor]:
    """The new tensors in the layouts that their operators read, by role."""
    if site.kind == "embedding":
        return {"first": _plain(parts.second), "second": _plain(parts.first.T)}
    if site.kind != "conv":
        blocks = {"blocks": _plain(parts.blocks)} if isinstance(parts, Butterfly) else {}
        return {"first": _plain(parts.first), "second": _plain(parts.second), **blocks}
    kernel = tuple(program.get(site.weight).shape[2:])
    point = (1,) * len(kernel)
    if isinstance(parts, Tucker):
        middle = {"core": _kernel(parts.core, kernel)}
        return {"first": _kernel(parts.first, point), **middle, "second": _kernel(parts.second, point)}
    return {"first": _kernel(parts.first, kernel), "second": _kernel(parts.second, point)}


def _plain(matrix: Tensor) -> Tensor:
    return matrix.float().contiguous()


def _kernel(matrix: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Outputs × positions·channels as a convolution's weight, laid out afresh (see `reading/matrix.py`)."""
    shaped = matrix.float().reshape(len(matrix), *kernel, -1).movedim(-1, 1)
    return shaped.clone(memory_format=torch.contiguous_format)


def _convolution(program: Program, node: fx.Node, stored: dict[str, fx.Node], bias: fx.Node | None) -> fx.Node:
    data: Any = node.args[0]
    point = _CONVOLUTIONS[stored["first"].meta["val"].dim() - 2]
    wide = stored["first"]
    if "core" in stored:
        data, wide = insert(program, point, (data, stored["first"]), like=node), stored["core"]
    places = [argument(node, name) for name in ("stride", "padding", "dilation")]
    thin = insert(program, node.target, (data, wide, None, *places), like=node)  # type: ignore[arg-type]
    return insert(program, point, (thin, stored["second"], bias), like=node)


def _embedding(program: Program, node: fx.Node, stored: dict[str, fx.Node], *, tied: bool) -> fx.Node:
    table = stored["second" if tied else "first"]
    thin = insert(program, aten.embedding.default, (table, *node.args[1:]), like=node, kwargs=dict(node.kwargs))
    if tied:
        return insert(program, aten.matmul.default, (thin, stored["first"]), like=node)
    return insert(program, aten.linear.default, (thin, stored["second"]), like=node)


def _blocks(program: Program, node: fx.Node, data: fx.Node, weight: fx.Node, columns: fx.Node) -> fx.Node:
    """What the pattern's blocks multiply to: one product for all block rows, which come first, and back."""
    rank, (rows, inputs, _) = data.meta["val"].dim(), weight.meta["val"].shape

    def call(target: Callable[..., Any], *args: object) -> fx.Node:
        return insert(program, target, args, like=node)

    split = call(aten.unflatten.int, data, -1, [data.meta["val"].shape[-1] // BLOCK, BLOCK])
    picked = call(aten.flatten.using_ints, call(aten.index_select.default, split, -2, columns), -2, -1)
    apart = call(aten.unflatten.int, picked, -1, [rows, inputs])
    first = call(aten.permute.default, apart, [rank - 1, *range(rank - 1), rank])
    for _ in range(rank - 2):
        weight = call(aten.unsqueeze.default, weight, 1)
    found = call(aten.matmul.default, first, weight)
    last = call(aten.permute.default, found, [*range(1, rank), 0, rank])
    return call(aten.flatten.using_ints, last, -2, -1)
