"""What one operator does: its kind, its multiply–accumulates, and the bytes it reads and writes.

    conv             N·Cout·∏out · Cin/groups·∏k        linear, matmul        numel(out) · K
    conv transposed  N·Cin·∏in · Cout/groups·∏k         attention             B·H·T·S · (D + Dv)
    recurrent        B·T · Σ numel(matrices)            einsum                ∏ of each pair's index sizes

Kinds are told by ATen's tags (pointwise, reduction) and by name; an operator in no family is "other" and costs its
bytes. Bytes are those that an ONNX runtime moves: reshapes are free, transposes and slices are copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.concrete import Values, op_name

__all__ = [
    "COMPUTE",
    "computed",
    "is_convolutional",
    "is_free",
    "kind_of",
    "macs",
    "reads",
    "size_of",
    "workspace_bytes",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMPUTE = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose", "linear", "matmul"})  # what others fuse into

_FAMILIES = {
    "conv_transpose": "conv_transpose1d conv_transpose2d conv_transpose3d",
    "linear": "linear addmm compressor::linear_blocks",
    "matmul": "matmul mm bmm baddbmm addbmm mv addmv dot vdot inner _grouped_mm grouped_mm_fallback",
    "einsum": "einsum",
    "attention": "scaled_dot_product_attention",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    "norm": "layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm _fused_rms_norm"
    " local_response_norm",
    "softmax": "softmax _softmax log_softmax _log_softmax _safe_softmax",
    "pool": "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices"
    " adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d adaptive_max_pool1d"
    " adaptive_max_pool2d adaptive_max_pool3d",
    "resize": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d"
    " upsample_linear1d upsample_trilinear3d _upsample_nearest_exact2d grid_sampler grid_sampler_2d",
    "embedding": "embedding embedding_bag compressor::embedding_blocks",
    "gather": "gather index index_select take_along_dim take",
    "layout": "permute transpose t numpy_T mT movedim moveaxis swapaxes swapdims slice select narrow split"
    " split_with_sizes tensor_split chunk unbind unfold expand expand_as broadcast_to broadcast_tensors repeat tile"
    " repeat_interleave cat concat stack hstack vstack roll flip pad constant_pad_nd reflection_pad1d reflection_pad2d"
    " replication_pad1d replication_pad2d pixel_shuffle pixel_unshuffle channel_shuffle diagonal rot90"
    " compressor::patches",
    "elementwise": "batch_norm _native_batch_norm_legit_no_training hardswish prelu glu masked_fill to _to_copy"
    " type_as __and__ __or__ __xor__ tril triu true_divide float half where logical_and square",
    "reduce": "sum mean amax amin max min std var prod norm cumsum",
    "quantize": "compressor::quantize",
    "dequantize": "compressor::dequantize",
}  # fmt: skip
_KINDS = {name: kind for kind, names in _FAMILIES.items() for name in names.split()}
_FREE = _words(
    "view reshape _unsafe_view _reshape_alias view_as reshape_as flatten unflatten squeeze unsqueeze contiguous clone"
    " detach alias lift_fresh lift_fresh_copy dropout feature_dropout alpha_dropout feature_alpha_dropout ravel"
    " positive"
)
_TRANSPOSES = _words("permute transpose t numpy_T mT movedim moveaxis swapaxes swapdims")
_SHUFFLES = _words("roll flip rot90 pixel_shuffle pixel_unshuffle channel_shuffle")
_CASTS = frozenset({"to", "_to_copy", "type_as", "float", "half"})
_TAKES_PART = _words(
    "gather index index_select take_along_dim take slice select narrow split split_with_sizes tensor_split chunk unbind"
    " diagonal"
)
_SHAPE_ONLY = _words(
    "full_like zeros_like ones_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty"
)


def kind_of(node: fx.Node) -> str:
    """The family that a call belongs to, as a user would call it; "other" for what is in none."""
    name = op_name(node)
    if name in ("conv1d", "conv2d", "conv3d"):
        return name
    if name == "convolution":
        return "conv_transpose" if node.args[6] else f"conv{len(_numbers(node.args[3]))}d"
    if name in _KINDS:
        return _KINDS[name]
    tags = getattr(node.target, "tags", ())
    if torch.Tag.pointwise in tags:
        return "elementwise"
    return "reduce" if torch.Tag.reduction in tags else "other"


def is_free(node: fx.Node, values: Values) -> bool:
    """Whether a call moves no data: sizes, reshapes, and casts, slices or transposes that change nothing."""
    value, name = values[node], op_name(node)
    if name in _FREE or not _tensors(value):
        return True
    source = next((v for v in _input_values(node, values)), None)
    if source is None or not isinstance(value, Tensor):
        return False
    same = source.numel() == value.numel() and source.dtype == value.dtype
    if name in _CASTS:
        return source.dtype == value.dtype
    if kind_of(node) != "layout" or name in _SHUFFLES:
        return False
    # A transpose is free when it only moves dimensions of size 1; all else in this family when it keeps every element.
    unmoved = name not in _TRANSPOSES or _walk(value) == _walk(source)
    return same and unmoved and len(node.all_input_nodes) == 1


def size_of(value: Any) -> int:
    """Bytes of a tensor, or of all tensors in a list."""
    return sum(t.numel() * t.element_size() for t in _tensors(value))


def reads(node: fx.Node, values: Values) -> dict[fx.Node, int]:
    """Bytes that a call reads of each of its inputs."""
    name, output = op_name(node), size_of(values[node])
    if name in _SHAPE_ONLY:
        return {}
    found = {source: size_of(values[source]) for source in node.all_input_nodes if _tensors(values[source])}
    if kind_of(node) == "embedding" and isinstance(table := node.args[0], fx.Node):
        indices = node.args[1]
        rows = values[indices].numel() if isinstance(indices, fx.Node) else 1
        scales = node.args[2] if name == "compressor::embedding_blocks" else None
        for stored in (table, scales):
            if isinstance(stored, fx.Node):
                found[stored] = rows * size_of(values[stored]) // values[stored].shape[0]
    elif name in _TAKES_PART and isinstance(source := node.args[0], fx.Node):
        found[source] = min(found[source], output)
    return found


def workspace_bytes(node: fx.Node, values: Values) -> int:
    """Bytes of what a call must hold besides inputs and outputs: the scores of an attention, B·H·T·S elements."""
    if kind_of(node) != "attention":
        return 0
    query, key = values[_node(node.args[0])], values[_node(node.args[1])]
    return int(math.prod(query.shape[:-1]) * key.shape[-2] * query.element_size())


def macs(node: fx.Node, values: Values) -> int:
    """Multiply–accumulates of one call; 0 for what does no matrix arithmetic."""
    count = _MACS.get(kind_of(node))
    return count(node, values) if count else 0


def computed(nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """What depends on an input; the rest is computed once, when the model is loaded. Nodes come in their order."""
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def is_convolutional(nodes: Iterable[fx.Node], values: Values) -> bool:
    """Whether convolutions do most of the multiply–accumulates: a transformer with a stem of them is none."""
    work = {True: 0, False: 0}
    for node in nodes:
        work[kind_of(node).startswith("conv")] += macs(node, values)
    return work[True] > work[False]


def _conv(node: fx.Node, values: Values) -> int:
    weight = values[_node(node.args[1])]  # Cout, Cin/groups, k…
    return int(values[node].numel() * math.prod(weight.shape[1:]))


def _conv_transpose(node: fx.Node, values: Values) -> int:
    weight = values[_node(node.args[1])]  # Cin, Cout/groups, k…
    return int(values[_node(node.args[0])].numel() * math.prod(weight.shape[1:]))


def _linear(node: fx.Node, values: Values) -> int:
    data = values[_node(node.args[1 if op_name(node) == "addmm" else 0])]
    return int(values[node].numel()) * int(data.shape[-1])


def _matmul(node: fx.Node, values: Values) -> int:
    name = op_name(node)
    data = values[_node(node.args[1 if name in ("baddbmm", "addbmm", "addmv") else 0])]
    batches = int(data.shape[0]) if name == "addbmm" else 1
    return int(values[node].numel()) * int(data.shape[-1]) * batches


def _attention(node: fx.Node, values: Values) -> int:
    query, key, value = (values[_node(argument)] for argument in node.args[:3])
    return int(math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _recurrent(node: fx.Node, values: Values) -> int:
    data = values[_node(node.args[0])]
    parameters = node.args[2] if isinstance(node.args[2], (list, tuple)) else node.args[2:]  # of a cell: one by one
    stored = [values[parameter] for parameter in parameters if isinstance(parameter, fx.Node)]
    matrices = [value for value in stored if value.dim() == 2]
    return int(math.prod(data.shape[:-1]) * sum(matrix.numel() for matrix in matrices))


def _einsum(node: fx.Node, values: Values) -> int:
    """Operands contracted pairwise from the left, as ONNX runtimes do; indices leave when nothing needs them."""
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    inputs, _, output = equation.partition("->")
    shapes = [values[_node(operand)].shape for operand in operands]  # type: ignore[union-attr]
    terms = [_spell(term, len(shape)) for term, shape in zip(inputs.split(","), shapes, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))  # a size of 1 broadcasts
    final = _spell(output, values[node].dim()) if "->" in equation else [i for t in terms for i in t]
    total, held = 0, set(terms[0])
    for position, term in enumerate(terms[1:], start=1):
        total += math.prod(sizes[index] for index in held | set(term))
        needed = {index for later in terms[position + 1 :] for index in later} | set(final)
        held = (held | set(term)) & needed
    return total


def _spell(term: str, rank: int) -> list[str]:
    """The indices of one einsum term; those under an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    if not dots:
        return list(term)
    hidden = rank - len(before) - len(after)
    return [*before, *(f".{hidden - i}" for i in range(hidden)), *after]


_MACS: dict[str, Callable[[fx.Node, Values], int]] = {
    "conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "conv_transpose": _conv_transpose, "linear": _linear,
    "matmul": _matmul, "einsum": _einsum, "attention": _attention, "recurrent": _recurrent,
}  # fmt: skip


def _node(argument: Any) -> fx.Node:
    if not isinstance(argument, fx.Node):
        raise TypeError(f"expected a value of the graph, got {argument!r}")
    return argument


def _numbers(argument: Any) -> tuple[int, ...]:
    return tuple(argument) if isinstance(argument, (list, tuple)) else (argument,)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [item for item in value if isinstance(item, Tensor)] if isinstance(value, (list, tuple)) else []


def _walk(value: Tensor) -> list[tuple[int, int]]:
    """Size and stride of every dimension that is longer than 1: how the elements lie in memory."""
    return [(size, stride) for size, stride in zip(value.shape, value.stride(), strict=True) if size != 1]


def _input_values(node: fx.Node, values: Values) -> list[Tensor]:
    return [values[source] for source in node.all_input_nodes if isinstance(values[source], Tensor)]
