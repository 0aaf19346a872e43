"""ATen's layers of floats as operators of our own (`float_ops.py`), which take their channels last.

    conv(x, w, b)      →   permute(conv_last(permute(x), w, s, b, …))     of one or two dimensions, in any groups
    linear(x, w, b)    →   dense(x, w, s, b, …)                           also matmul, mm, addmm
    pools of images    →   permute(max_pool_last(permute(x), …))          also adaptive ones whose windows are alike
    scaled_dot_product_attention(q, k, v, m)    →   permute(attention(permute(q), permute(k), permute(v), m))
                                                    of k and v before their heads are repeated (`heads.py`)
    batch_norm(x)      →   x · (γ / √(σ² + ε)) + (β − μ γ / √(σ² + ε))
    instance_norm(x)   →   layer_norm(x) over an image · γ + β            TVM's importer wants a known batch

Where weights are stored float32, or as whole numbers of one scale s an output, and an image's size is known.
`channels_last.py` then lets the permutations meet, and `epilogues.py` takes in what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.export import float_ops  # noqa: F401  registers the custom ops
from compressor.export.channels_last import turned
from compressor.export.codes import CONVOLUTIONS, PRODUCTS, each_way, padding_of, weights_of
from compressor.export.heads import unrepeated
from compressor.graph.edit import add_tensor, argument, begin, finish, insert, substitute, tensor_of
from compressor.graph.program import Program
from compressor.graph.shapes import is_settled

__all__ = ["HEADS_BESIDE", "in_layers"]

aten, ops = torch.ops.aten, torch.ops.compressor
HEADS_BESIDE = [0, 2, 1, 3]  # heads beside each other, and back


def in_layers(program: Program) -> Program:
    """The program with such operators; itself where there is nothing to rewrite."""
    copy = begin(program)
    changed = False
    for node in list(copy.nodes()):
        rule = _RULES.get(node.target)  # type: ignore[arg-type]
        made = rule(copy, node) if rule is not None else None
        if made is not None:
            substitute(copy, node, made)
            changed = True
    return finish(copy) if changed else program


def _dense(program: Program, node: fx.Node) -> fx.Node | None:
    at_x, at_weight, at_bias, axis = PRODUCTS[node.target]  # type: ignore[index]
    x, found = node.args[at_x], _stored(program, node.args[at_weight], axis)
    if node.kwargs or found is None or found.value.dim() != 2 or not _is_float(x) or x.meta["val"].dim() < 2:  # type: ignore[union-attr]
        return None
    bias = node.args[at_bias] if at_bias is not None and at_bias < len(node.args) else None
    if bias is not None and not _is_row(program, bias, found.value.shape[axis]):
        return None
    weight = found.put(program, node, found.value.T.contiguous() if axis == 1 else None)
    return insert(program, ops.dense.default, (x, *weight, bias, *[None] * 4), like=node)


@dataclass(frozen=True)
class _Stored:
    """A weight as it is stored at `node`, floats or whole numbers with the scales of its outputs."""

    value: Tensor
    scale: Tensor | None
    node: fx.Node

    def put(self, program: Program, node: fx.Node, value: Tensor | None = None) -> tuple[fx.Node, fx.Node | None]:
        """Weight and scales as a layer reads them in place of `node`; `value` where they are laid out otherwise."""
        name, whole = f"{node.name}_weight", self.scale is not None
        weight = self.node if value is None else add_tensor(program, name, value, node, buffer=whole)
        scale = None if self.scale is None else add_tensor(program, f"{name}_scale", self.scale, node, buffer=True)
        return weight, scale


def _stored(program: Program, node: Any, axis: int) -> _Stored | None:
    """A layer's weight whose outputs lie along `axis`."""
    value = _weight(program, node)
    if value is not None:
        return _Stored(value, None, node)
    found = weights_of(program, node, axis)
    return None if found is None else _Stored(*found, node.args[0])


def _is_row(program: Program, bias: Any, size: int) -> bool:
    value = _weight(program, bias)
    return value is not None and value.shape == (size,)


def _convolution(program: Program, node: fx.Node) -> fx.Node | None:
    dims = CONVOLUTIONS[node.target]  # type: ignore[index]
    x, found, bias = node.args[0], _stored(program, node.args[1], 0), argument(node, "bias")
    if found is None or found.value.dim() != dims + 2 or not _is_image(x, dims):
        return None
    if bias is not None and not _is_row(program, bias, len(found.value)):
        return None
    stride, dilation = (each_way(argument(node, name), dims, 1) for name in ("stride", "dilation"))
    padding = padding_of(argument(node, "padding"), dims, found.value.shape[2:], dilation)
    if dims == 1:  # a line is an image of one row
        x = insert(program, aten.unsqueeze.default, (x, 2), like=node)
        stride, dilation = [1, *stride], [1, *dilation]
    weight = found.put(program, node, found.value.unsqueeze(2) if dims == 1 else None)
    shape = stride, padding, dilation, argument(node, "groups")
    y = turned(program, node, ops.conv_last.default, x, *weight, bias, *[None] * 4, *shape)
    return insert(program, aten.squeeze.dim, (y, 2), like=node) if dims == 1 else y


def _max_pool(program: Program, node: fx.Node) -> fx.Node | None:
    if not _is_image(node.args[0], 2):
        return None
    kernel = each_way(argument(node, "kernel_size"), 2, 1)
    stride = each_way(argument(node, "stride") or kernel, 2, 1)
    padding, dilation = each_way(argument(node, "padding"), 2, 0), each_way(argument(node, "dilation"), 2, 1)
    args = kernel, stride, padding, dilation, bool(argument(node, "ceil_mode"))
    return turned(program, node, ops.max_pool_last.default, node.args[0], *args)


def _mean_pool(program: Program, node: fx.Node) -> fx.Node | None:
    if not _is_image(node.args[0], 2) or argument(node, "divisor_override") is not None:
        return None
    kernel = each_way(argument(node, "kernel_size"), 2, 1)
    stride, padding = each_way(argument(node, "stride") or kernel, 2, 1), each_way(argument(node, "padding"), 2, 0)
    args = kernel, stride, padding, bool(argument(node, "ceil_mode")), bool(argument(node, "count_include_pad"))
    return turned(program, node, ops.avg_pool_last.default, node.args[0], *args)


def _adaptive_pool(program: Program, node: fx.Node) -> fx.Node | None:
    x = node.args[0]
    if not _is_image(x, 2):
        return None
    given, wanted = [int(size) for size in x.meta["val"].shape[2:]], each_way(argument(node, "output_size"), 2, 1)  # type: ignore[union-attr]
    if list(wanted) == [1, 1]:
        return insert(program, aten.mean.dim, (x, [2, 3], True), like=node)
    if any(size % parts for size, parts in zip(given, wanted, strict=True)):
        return None
    kernel = [size // parts for size, parts in zip(given, wanted, strict=True)]
    return turned(program, node, ops.avg_pool_last.default, x, kernel, kernel, [0, 0], False, False)


def _batch_norm(program: Program, node: fx.Node) -> fx.Node | None:
    x, gamma, beta, mean, variance, training, _, eps, *_ = node.args
    middle, spread = _weight(program, mean), _weight(program, variance)
    if training or not _is_float(x) or middle is None or spread is None:
        return None
    slope = torch.ones_like(spread) if gamma is None else _weight(program, gamma)
    offset = torch.zeros_like(middle) if beta is None else _weight(program, beta)
    if slope is None or offset is None:
        return None
    scale = slope / torch.sqrt(spread + float(eps))  # type: ignore[arg-type]
    shape = (-1, *[1] * (x.meta["val"].dim() - 2))  # type: ignore[union-attr]
    for name, value, target in (("scale", scale, aten.mul.Tensor), ("shift", offset - middle * scale, aten.add.Tensor)):
        held = add_tensor(program, f"{node.name}_{name}", value.reshape(shape), node)
        x = insert(program, target, (x, held), like=node)
    return x  # type: ignore[return-value]


def _instance_norm(program: Program, node: fx.Node) -> fx.Node | None:
    x, gamma, beta, _, _, from_inputs, _, eps, *_ = node.args
    if not from_inputs:
        return _batch_norm(program, node)
    dims = x.meta["val"].dim() - 2  # type: ignore[union-attr]
    if not _is_image(x, dims):
        return None
    sizes = [int(size) for size in x.meta["val"].shape[2:]]  # type: ignore[union-attr]
    y = insert(program, aten.layer_norm.default, (x, sizes, None, None, eps), like=node)
    for given, target in ((gamma, aten.mul.Tensor), (beta, aten.add.Tensor)):
        if given is not None:
            spread = insert(program, aten.reshape.default, (given, [-1, *[1] * dims]), like=node)
            y = insert(program, target, (y, spread), like=node)
    return y


def _attention(program: Program, node: fx.Node) -> fx.Node | None:
    inputs = [argument(node, name) for name in ("query", "key", "value")]
    if argument(node, "dropout_p") or not all(_is_heads(each) for each in inputs):
        return None
    mask, scale = argument(node, "attn_mask"), argument(node, "scale")
    if mask is not None:
        mask = _added(program, node, mask)
        if mask is None:
            return None
    width = int(inputs[0].meta["val"].shape[3])
    q, k, v = inputs[0], unrepeated(inputs[1]), unrepeated(inputs[2])
    if k.meta["val"].shape[1] != v.meta["val"].shape[1]:
        k, v = inputs[1:]
    given = [insert(program, aten.permute.default, (each, HEADS_BESIDE), like=node) for each in (q, k, v)]
    scale = width**-0.5 if scale is None else float(scale)
    y = insert(
        program, ops.attention.default, (*given, mask, bool(argument(node, "is_causal")), scale, [False] * 3), like=node
    )
    return insert(program, aten.permute.default, (y, HEADS_BESIDE), like=node)


def _is_heads(node: Any) -> bool:
    """(batch, heads, length, width), heads and width known."""
    if not _is_float(node) or node.meta["val"].dim() != 4:
        return False
    return all(is_settled(node.meta["val"].shape[at]) for at in (1, 3))


def _added(program: Program, node: fx.Node, mask: fx.Node) -> fx.Node | None:
    """A mask of four dimensions, of floats: −∞ where one of truth values is false."""
    value = mask.meta["val"]
    if value.dtype == torch.bool:
        numbers = [
            add_tensor(program, f"{node.name}_{bound}", torch.tensor(float(bound)), node) for bound in ("0", "-inf")
        ]
        mask = insert(program, aten.where.self, (mask, *numbers), like=node)
    elif value.dtype != torch.float32:
        return None
    for _ in range(4 - value.dim()):
        mask = insert(program, aten.unsqueeze.default, (mask, 0), like=node)
    return mask


_RULES: Mapping[Callable[..., Any], Callable[[Program, fx.Node], fx.Node | None]] = {
    **dict.fromkeys(PRODUCTS, _dense),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _mean_pool,
    aten.adaptive_avg_pool2d.default: _adaptive_pool,
    aten.batch_norm.default: _batch_norm,
    aten.instance_norm.default: _instance_norm,
    aten.scaled_dot_product_attention.default: _attention,
}


def _weight(program: Program, node: Any) -> Tensor | None:
    value = tensor_of(program, node)
    return value if value is not None and value.dtype == torch.float32 else None


def _is_float(node: Any) -> bool:
    return (
        isinstance(node, fx.Node) and isinstance(node.meta["val"], Tensor) and node.meta["val"].dtype == torch.float32
    )


def _is_image(node: Any, dims: int) -> bool:
    """A batch of images (or lines) whose size is known."""
    return _is_float(node) and _known(node.meta["val"].shape, dims)


def _known(shape: Sequence[Any], dims: int) -> bool:
    return len(shape) == dims + 2 and all(is_settled(size) for size in shape[1:])
