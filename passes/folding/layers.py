"""Convolutions, transposed convolutions and linears seen alike, and a per-channel affine map moved into them.

    after:   (W x + b)·s + t  =  (s W) x + (s b + t)                 rows of W are scaled
    before:  W (x·s + t) + b  =  (W s) x + (W t + b)                 columns of W are scaled

Both are computed in float64 and rounded once. A shift moves through a convolution only where nothing is padded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.rule import Bench

__all__ = ["Affine", "Layer", "layer_of"]

aten = torch.ops.aten
_CONV: dict[Any, int] = {
    aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3,
    aten.conv1d.padding: 1, aten.conv2d.padding: 2, aten.conv3d.padding: 3,
}  # fmt: skip
_TRANSPOSED: dict[Any, int] = {
    aten.conv_transpose1d.default: 1, aten.conv_transpose2d.input: 2, aten.conv_transpose3d.input: 3,
}  # fmt: skip
_PART = 1 << 20  # elements


@dataclass(frozen=True)
class Affine:
    """y = x·scale + shift, float64, each a scalar or a vector over the channels; None stands for 1 and 0."""

    scale: Tensor | None = None
    shift: Tensor | None = None

    @property
    def channels(self) -> int | None:
        """How many channels it names, or None where both are scalars."""
        sizes = [t.numel() for t in (self.scale, self.shift) if t is not None and t.dim()]
        return sizes[0] if sizes else None

    @property
    def is_finite(self) -> bool:
        return all(bool(torch.isfinite(t).all()) for t in (self.scale, self.shift) if t is not None)


@dataclass(frozen=True)
class Layer:
    """A conv, transposed conv or linear whose weight (and bias, if any) the program stores."""

    node: fx.Node
    spatial: int  # spatial dimensions; 0 for a linear
    transposed: bool
    groups: int
    weight: fx.Node  # get_attr
    bias: fx.Node | None  # get_attr

    @property
    def name(self) -> str:
        return edit.layer_name(self.node)

    @property
    def source(self) -> fx.Node:
        """The activation that it reads."""
        source: fx.Node = self.node.args[0]  # type: ignore[assignment]
        return source

    @property
    def axis(self) -> int:
        """The channel dimension of its input and output, which have as many dimensions as each other."""
        rank = int(self.node.meta["val"].dim())
        return rank - 1 - self.spatial

    @property
    def padding(self) -> tuple[int, ...] | str:
        given = edit.argument(self.node, "padding") if self.spatial else 0
        return given if isinstance(given, str) else _ints(given, self.spatial)

    @property
    def is_padded(self) -> bool:
        """Whether some output reads past the input's border."""
        if self.padding == "same":
            return any(size > 1 for size in self.kernel)
        return self.padding != "valid" and any(self.padding)

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(self.weight.meta["val"].shape[2:])

    def steps(self, name: str) -> tuple[int, ...]:
        """`stride` or `dilation`, one number a spatial dimension."""
        return _ints(edit.argument(self.node, name) if self.spatial else 1, self.spatial)

    def tensors(self, bench: Bench) -> tuple[Tensor, Tensor | None]:
        """Views of weight, as (groups, out / groups, in / groups, kernel elements), and bias (out), as stored."""
        stored, bias = edit.tensor_of(bench.program, self.weight), edit.tensor_of(bench.program, self.bias)
        assert stored is not None  # layer_of looked
        weight = stored.detach()
        shape = (self.groups, weight.shape[0] // self.groups, weight.shape[1], math.prod(weight.shape[2:]))
        weight = weight.reshape(shape).transpose(1, 2) if self.transposed else weight.reshape(shape)
        return weight, None if bias is None else bias.detach()

    def blocked(self, bench: Bench, twins: tuple[fx.Node, ...] = ()) -> str | None:
        """Why its weight or bias must not be replaced; `twins` are readers that are rewritten together with it."""
        if (name := bench.kept(self.node)) is not None:
            return f"{name} is kept as asked"
        for stored in (self.weight, self.bias):
            if stored is None:
                continue
            others = [n for n in bench.readers(stored) if n is not self.node and n not in twins]
            if others:
                return f"{stored.target} is shared with {edit.module_path(others[0]) or others[0].name}"
            if stored.meta["val"].dtype not in (torch.float32, torch.float64):
                return f"{stored.target} is {str(stored.meta['val'].dtype)[6:]}: folding would round it again"
        return None

    def store(self, bench: Bench, weight: Tensor, bias: Tensor | None, twins: tuple[fx.Node, ...] = ()) -> None:
        """Replace weight (in the form of `tensors`) and bias by new tensors under the same names."""
        old = self.weight.meta["val"]
        weight = weight.transpose(1, 2) if self.transposed else weight
        grouped = weight.reshape(self.groups * weight.shape[1], weight.shape[2], *self.kernel)
        edit.set_tensor(bench.program, str(self.weight.target), grouped.to(old.dtype).contiguous())
        shapes.infer_node(bench.program, self.weight)
        if bias is None:
            return
        if self.bias is not None:
            edit.set_tensor(bench.program, str(self.bias.target), bias.to(old.dtype))
            shapes.infer_node(bench.program, self.bias)
            return
        path = str(self.weight.target).rpartition(".")[0]
        first = min((self.node, *twins))
        stored = edit.add_tensor(bench.program, f"{path}.bias" if path else "bias", bias.to(old.dtype), first)
        for node in (self.node, *twins):
            edit.set_argument(node, "bias", stored)

    def scale_outputs(self, bench: Bench, affine: Affine, twins: tuple[fx.Node, ...] = ()) -> str | None:
        """Absorb an affine map of the output. Returns why not, with nothing changed."""
        if (reason := self.blocked(bench, twins)) is not None:
            return reason
        weight, bias = self.tensors(bench)
        out = weight.shape[0] * weight.shape[1]
        bias = None if bias is None else bias.double()
        if affine.scale is not None:
            weight = _times(weight, affine.scale.expand(out).reshape(self.groups, -1, 1, 1))
            bias = None if bias is None else bias * affine.scale
        if affine.shift is not None:
            bias = (affine.shift if bias is None else bias + affine.shift).expand(out)
        self.store(bench, weight, bias, twins)
        return None

    def accepts(self, bench: Bench, affine: Affine) -> str | None:
        """Why an affine map of the input cannot be absorbed."""
        if affine.shift is not None and bool(affine.shift.any()):
            if self.transposed:
                return f"{self.name} is a transposed conv, whose borders would not be shifted"
            if self.is_padded:
                return f"{self.name} pads its input, and the padding would not be shifted"
        return self.blocked(bench)

    def scale_inputs(self, bench: Bench, affine: Affine) -> None:
        """Absorb an affine map of the input that `accepts` let through."""
        weight, bias = self.tensors(bench)
        inputs = weight.shape[0] * weight.shape[2]
        if affine.shift is not None and bool(affine.shift.any()):
            shift = affine.shift.expand(inputs).reshape(self.groups, 1, -1, 1)
            moved = torch.cat([(part.double() * shift).sum(dim=(2, 3)) for part in _parts(weight)], dim=1).flatten()
            bias = moved if bias is None else bias.double() + moved
        if affine.scale is not None:
            weight = _times(weight, affine.scale.expand(inputs).reshape(self.groups, 1, -1, 1))
        self.store(bench, weight, bias)


def _parts(weight: Tensor) -> tuple[Tensor, ...]:
    """Slices along the outputs, small enough that float64 copies of a large weight never exist as a whole."""
    rows = max(1, _PART * weight.shape[1] // max(weight.numel(), 1))
    return torch.split(weight, rows, dim=1)


def _times(weight: Tensor, factor: Tensor) -> Tensor:
    """weight · factor, computed in float64 and rounded once."""
    result = torch.empty_like(weight)
    factors = _parts(factor.expand_as(weight))
    for part, source, scale in zip(_parts(result), _parts(weight), factors, strict=True):
        part.copy_(source.double() * scale)
    return result


def layer_of(bench: Bench, node: object) -> Layer | None:
    """The layer that this node is, if it is one with stored tensors."""
    if not isinstance(node, fx.Node):
        return None
    transposed, spatial = node.target in _TRANSPOSED, 0
    if transposed or node.target in _CONV:
        spatial = {**_CONV, **_TRANSPOSED}[node.target]
    elif node.target is aten.convolution.default:
        transposed = bool(edit.argument(node, "transposed"))
        spatial = len(edit.argument(node, "stride"))
    elif node.target is not aten.linear.default:
        return None
    weight, bias = edit.argument(node, "weight"), edit.argument(node, "bias")
    stored = [edit.tensor_of(bench.program, t) for t in (weight, bias) if t is not None]
    if not stored or any(t is None for t in stored) or not isinstance(node.args[0], fx.Node):
        return None
    rank = stored[0].dim() if stored[0] is not None else 0
    if rank != spatial + 2 or node.args[0].op == "get_attr":
        return None
    return Layer(node, spatial, transposed, int(edit.argument(node, "groups") or 1), weight, bias)


def _ints(value: Any, count: int) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * count if len(values) == 1 else values)
