"""An activation taken out, at once or little by little, so that what is left merges exactly.

    act(W₁ x + b₁)  →  W₁ x + b₁                                     at once
    y = (1 − r)·act(v) + r·(v − b₁),   b₂ ← b₂ + r·(Σ W₂) b₁         v = W₁ x + b₁,  r from 0 to 1

A layer that pads its input sees zeros beyond its border, and would see b₁ there if it were merged with the layer before
it: then b₁ goes into its own bias instead. That differs at the border alone, and training or a fit makes up for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from compressor.graph import edit, shapes
from compressor.graph.program import Program
from compressor.passes.folding.layers import Affine, Layer, layer_of
from compressor.passes.folding.rule import Bench

__all__ = ["Blend", "blended", "moves", "reader", "removed", "settled"]

aten = torch.ops.aten
_BETWEEN = {aten.dropout.default, aten.batch_norm.default}


@dataclass(frozen=True)
class Blend:
    """One activation on its way out, by names: the node that stands for it, and what it takes.

    Where a bias moves: the calls of the layer that it leaves and of the one that it goes to, and the vector that it is
    there.
    """

    node: str
    source: str
    first: str | None = None
    second: str | None = None
    moved: str | None = None


def removed(bench: Bench, nodes: Collection[str]) -> None:
    """Take these activations out of a program under way, biases moved where the next layer pads."""
    for node in [node for node in bench.program.graph.nodes if node.name in nodes]:
        first, second = layer_of(bench, node.args[0]), reader(bench, node)
        edit.substitute(bench.program, node, node.args[0])
        if first is not None and second is not None and moves(bench, first, second):
            move(bench, first, second)


def moves(bench: Bench, first: Layer, second: Layer) -> bool:
    """Whether a bias of `first` stands in the way of merging: `second` pads, and `first` maps each position alone."""
    pads = second.spatial > 0 and second.is_padded
    alone = not first.is_padded and not first.transposed and all(size == 1 for size in first.kernel)
    bias = first.tensors(bench)[1]
    return pads and alone and bias is not None and bool(bias.any())


def move(bench: Bench, first: Layer, second: Layer) -> None:
    """Add what the first layer's bias does to the second's bias, as if nothing were padded, and zero it."""
    bias = first.tensors(bench)[1]
    assert bias is not None
    assert first.bias is not None
    second.scale_inputs(bench, Affine(shift=bias.double()))
    edit.set_tensor(bench.program, str(first.bias.target), torch.zeros_like(bias))
    shapes.infer_node(bench.program, first.bias)


def reader(bench: Bench, node: fx.Node) -> Layer | None:
    """The layer that alone reads a node, past what does nothing in eval mode."""
    users = list(node.users)
    while len(users) == 1 and users[0].target in _BETWEEN:
        users = list(users[0].users)
    return layer_of(bench, users[0]) if len(users) == 1 else None


def blended(bench: Bench, node: fx.Node, share: fx.Node) -> Blend:
    """Let an activation of a program under way be only 1 − r of what it was; `share` is the node that gives r."""
    program, source = bench.program, node.args[0]
    assert isinstance(source, fx.Node)
    first, second = layer_of(bench, source), reader(bench, node)
    target, after, bias = source, node.next, None
    if first is not None and second is not None and moves(bench, first, second):
        stored = first.bias
        assert stored is not None
        flat = edit.insert(program, aten.reshape.default, (stored, [-1, *[1] * first.spatial]), like=node, before=after)
        target = edit.insert(program, aten.sub.Tensor, (source, flat), like=node, before=after)
        bias = _moving(bench, first, second, share)
    apart = edit.insert(program, aten.sub.Tensor, (target, node), like=node, before=after)
    part = edit.insert(program, aten.mul.Tensor, (apart, share), like=node, before=after)
    result = edit.insert(program, aten.add.Tensor, (node, part), like=node, before=after)
    node.replace_all_uses_with(result, delete_user_cb=lambda user: user not in (apart, result))
    if bias is None or first is None or second is None:
        return Blend(result.name, source.name)
    return Blend(result.name, source.name, first.node.name, second.node.name, bias)


def settled(program: Program, blends: Sequence[Blend]) -> Program:
    """The program with its blends at r = 1: activations gone, biases where they were moving to."""
    copy = edit.begin(program)
    bench, nodes = Bench(copy), {node.name: node for node in copy.graph.nodes}
    for blend in blends:
        edit.substitute(copy, nodes[blend.node], nodes[blend.source])
    edit.delete_unused(copy)
    for blend in blends:
        if blend.moved is not None and blend.first is not None and blend.second is not None:
            _moved(bench, nodes[blend.first], nodes[blend.second], blend.moved)
    return edit.finish(copy)


def _moving(bench: Bench, first: Layer, second: Layer, share: fx.Node) -> str:
    """Give the second layer r times what the first one's bias does; the name of the stored vector."""
    program, bias = bench.program, first.tensors(bench)[1]
    assert bias is not None
    weight = second.tensors(bench)[0].double()
    shift = bias.double().reshape(second.groups, 1, -1, 1)
    value = (weight * shift).sum(dim=(2, 3)).flatten().to(bias.dtype)
    stored = edit.add_tensor(program, f"{second.name}.bias", value, second.node)
    moving = edit.insert(program, aten.mul.Tensor, (stored, share), like=second.node)
    if second.bias is not None:
        moving = edit.insert(program, aten.add.Tensor, (second.bias, moving), like=second.node)
    edit.set_argument(second.node, "bias", moving)
    return str(stored.target)


def _moved(bench: Bench, first: fx.Node, second: fx.Node, name: str) -> None:
    """The end of `_moving`: the second layer's bias holds what was moving, the first one's is zero."""
    program, moving = bench.program, edit.argument(second, "bias")
    base = moving.args[0] if edit.is_call(moving, aten.add.Tensor) else None
    arrived = program.get(name).detach()
    if base is None:
        edit.set_argument(second, "bias", edit.read(program, name, second))
    else:
        edit.set_tensor(program, str(base.target), program.get(str(base.target)).detach() + arrived)
        edit.set_argument(second, "bias", base)
    gone = edit.argument(first, "bias")
    edit.set_tensor(program, str(gone.target), torch.zeros_like(program.get(str(gone.target))))
