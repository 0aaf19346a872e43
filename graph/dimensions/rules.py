"""Which rule explains which operator; what has none freezes the units that it touches."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions import contractions, elementwise, layout
from compressor.graph.dimensions.recurrent import recurrent
from compressor.graph.dimensions.walk import Axes, Rule, Walk
from compressor.graph.work import kind_of

__all__ = ["rule_for"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BY_NAME: dict[str, Rule] = {
    "getitem": layout.getitem,
    "cat": layout.cat,
    "concat": layout.cat,
    "stack": layout.stack,
    "expand": layout.expand,
    "index": layout.index,
    "index_select": layout.index,
    "gather": layout.index,
    "constant_pad_nd": layout.pad,
    "batch_norm": elementwise.batch_norm,
    "instance_norm": elementwise.batch_norm,
    "_native_batch_norm_legit_no_training": elementwise.batch_norm,
    "layer_norm": elementwise.layer_norm,
    "rms_norm": elementwise.layer_norm,
    "group_norm": elementwise.group_norm,
    "embedding": elementwise.embedding,
    "prelu": elementwise.prelu,
    "_weight_norm": elementwise.weight_norm,
    "weight_norm": elementwise.weight_norm,
    "pad": layout.pad,
    "slice": layout.take,
    "narrow": layout.take,
    "select": layout.take,
    "multiply": elementwise.pointwise,
    "subtract": elementwise.pointwise,
    "divide": elementwise.pointwise,
    "expand_as": elementwise.pointwise,
    "view_as": layout.reshape_as,
    "reshape_as": layout.reshape_as,
    "glu": elementwise.glu,
    "roll": layout.shift,
    "flip": layout.shift,
    "channel_shuffle": layout.channel_shuffle,
    "native_channel_shuffle": layout.channel_shuffle,
}
_BY_KIND: dict[str, Rule] = {
    "conv1d": contractions.conv,
    "conv2d": contractions.conv,
    "conv3d": contractions.conv,
    "conv_transpose": contractions.conv_transpose,
    "linear": contractions.linear,
    "matmul": contractions.matmul,
    "einsum": contractions.einsum,
    "attention": contractions.attention,
    "recurrent": recurrent,
    "softmax": elementwise.softmax,
    "pool": elementwise.per_channel,
    "resize": elementwise.per_channel,
    "reduce": elementwise.reduce,
    "elementwise": elementwise.pointwise,
}
_MOVES = _words(
    "view reshape _unsafe_view flatten unflatten squeeze unsqueeze ravel permute transpose t numpy_T mT"
    " movedim moveaxis swapaxes swapdims slice select narrow split split_with_sizes tensor_split chunk unbind repeat"
    " tile repeat_interleave"
)
_WINDOWS = _words(
    "pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d"
    " replication_pad2d replication_pad3d im2col unfold"
)
_SAME = _words(
    "contiguous clone detach alias lift_fresh lift_fresh_copy dropout feature_dropout alpha_dropout positive"
    " zeros_like ones_like full_like empty_like rand_like randn_like to _to_copy type_as float half"
)
_CREATES = _words("zeros ones full empty new_zeros new_ones new_full new_empty")
_NO_UNITS = _words("arange scalar_tensor eye linspace rand randn randint tensor")
_UNKNOWN = _words("local_response_norm grid_sampler grid_sampler_2d tril triu rot90")


def rule_for(node: fx.Node) -> Rule:
    """The rule of a call."""
    name = op_name(node)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in _UNKNOWN:
        return unknown
    if name in _MOVES:
        return layout.rearrange
    if name in _WINDOWS:
        return layout.window
    if name in _SAME:
        return _same
    if name in _CREATES:
        return layout.create
    if name in _NO_UNITS or _is_number(node):
        return _nothing
    return _BY_KIND.get(kind_of(node), unknown)


def unknown(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """Freeze all that it touches."""
    walk.freeze_all(node, "is not understood")
    return walk.unlabelled(node)


def _same(walk: Walk, node: fx.Node) -> Axes:
    return walk.of(node.args[0])


def _nothing(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    return walk.unlabelled(node)


def _is_number(node: fx.Node) -> bool:
    """Whether a call returns sizes or checks, no tensors."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    return isinstance(node.target, type(operator.add)) or (
        not any(isinstance(v, Tensor) for v in values) and not torch.is_tensor(value)
    )
