"""Convolutions and linears as plain linear maps, and what two of them make together: one after the other, or summed.

    one after the other   W[q] = Σ W₂[v] W₁[u] over d₁u + s₁d₂v = q      s = s₁s₂,  p = p₁ + s₁p₂,  b = (Σ W₂) b₁ + b₂
    summed                W[q] = W₁[q + p₁] + W₂[q + p₂]                 the same stride; b = b₁ + b₂

u, v count the taps of kernels with dilations d, strides s and paddings p; a linear has one tap. The second map's zero
padding stands for values that the first one would have computed, so there it may not pad, unless the first maps each
position alone and zero to zero. Groups become the largest number that both keep apart.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compressor.passes.folding.layers import Affine, Layer
from compressor.passes.folding.rule import Bench

__all__ = ["LinearMap", "composed", "identity_map", "map_of", "summed"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class LinearMap:
    """`weight` [groups, out / groups, in / groups, *kernel] and `bias` [out] in float64, or both on the meta device.

    `shifts`: the bias is not zero. `padding` is None where one side is padded more than the other.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    shifts: bool
    stride: Sizes
    padding: Sizes | None
    dilation: Sizes
    transposed: bool = False

    @property
    def groups(self) -> int:
        return int(self.weight.shape[0])

    @property
    def kernel(self) -> Sizes:
        return tuple(self.weight.shape[3:])

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[2])

    @property
    def pads(self) -> bool:
        """Whether zeros that no layer before it made are among what it sees (a transposed one's gaps are such)."""
        return self.transposed or self.padding is None or any(self.padding)

    @property
    def keeps_positions(self) -> bool:
        """Whether it maps the channels of each position alone, to the same position."""
        return self.takes_positions and all(step == 1 for step in self.stride)

    @property
    def takes_positions(self) -> bool:
        """Whether it maps the channels of each position alone, of some positions."""
        return not self.pads and all(size == 1 for size in self.kernel)

    @property
    def geometry(self) -> tuple[object, ...]:
        """All but the numbers: what a layer's arguments say."""
        return self.groups, self.kernel, self.stride, self.padding, self.dilation, self.transposed


def map_of(layer: Layer, bench: Bench, *, real: bool = True) -> LinearMap:
    """A layer as a map; on the meta device unless `real`, for whoever wants to know sizes alone."""
    weight, bias = layer.tensors(bench)
    shifts = bias is not None and bool(bias.any())
    weight = weight.reshape(*weight.shape[:3], *layer.kernel)
    weight = weight.double() if real else weight.to("meta")
    bias = None if bias is None else bias.double() if real else bias.to("meta")
    steps = layer.steps("stride"), layer.steps("dilation")
    return LinearMap(layer.name, weight, bias, shifts, steps[0], _padding(layer), steps[1], layer.transposed)


def identity_map(channels: int, spatial: int, affine: Affine | None = None, *, real: bool = True) -> LinearMap:
    """y = x, or an affine map of each channel, a group a channel."""
    scale, shift = (None, None) if affine is None else (affine.scale, affine.shift)
    weight = torch.ones(channels, dtype=torch.float64) if scale is None else scale.expand(channels)
    bias = None if shift is None else shift.expand(channels)
    ones, device = (1,) * spatial, None if real else "meta"
    return LinearMap(
        "the sum's other side", weight.reshape(-1, 1, 1, *ones).to(device), None if bias is None else bias.to(device),
        bias is not None and bool(bias.any()), ones, (0,) * spatial, ones,
    )  # fmt: skip


def composed(first: LinearMap, second: LinearMap) -> LinearMap | str:
    """`second` after `first` as one map, or why that is none."""
    if len(first.kernel) != len(second.kernel):
        return f"{first.name} and {second.name} are of different kinds"
    if first.outputs != second.inputs:
        return f"{second.name} does not read what {first.name} makes as it is"
    if second.pads:
        if not first.takes_positions:
            return f"{second.name} pads its input with zeros, which {first.name} would not give there: no exact merge"
        if first.shifts:
            return f"{second.name} pads its input, where the bias of {first.name} is missing"
    if first.transposed or second.transposed:
        if not (first.keeps_positions or second.keeps_positions) or max(first.groups, second.groups) > 1:
            return "one of the two is a transposed conv and the other no plain 1×1 conv"
        weight = torch.einsum("gmi...,gom...->goi...", first.weight, second.weight)
        shape = second if first.keeps_positions else first
        return replace(shape, weight=weight, bias=_bias(first, second), shifts=first.shifts or second.shifts)
    groups = math.gcd(first.groups, second.groups)
    one, two = _regrouped(first.weight, groups), _regrouped(second.weight, groups)
    if first.padding is None or second.padding is None:
        if not (first.keeps_positions or second.keeps_positions):
            return "one of the two pads one side more than the other"
        shape = second if first.keeps_positions else first
        weight = torch.einsum("gmi...,gom...->goi...", one, two)
        return replace(shape, weight=weight, bias=_bias(first, second), shifts=first.shifts or second.shifts)
    weight, dilation = _convolved(first, second, one, two)
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    padding = tuple(p + s * q for p, s, q in zip(first.padding, first.stride, second.padding, strict=True))
    return LinearMap(
        second.name, weight, _bias(first, second), first.shifts or second.shifts, stride, padding, dilation
    )


def summed(one: LinearMap, other: LinearMap) -> LinearMap | str:
    """The sum of both, of the same input, as one map, or why that is none."""
    if len(one.kernel) != len(other.kernel) or (one.outputs, one.inputs) != (other.outputs, other.inputs):
        return f"{one.name} and {other.name} are of different kinds"
    if one.transposed or other.transposed or one.padding is None or other.padding is None:
        return "one of the two is a transposed conv, or pads one side more than the other"
    if one.stride != other.stride:
        return f"{one.name} and {other.name} step differently"
    if _shrinks(one) != _shrinks(other):
        return f"the outputs of {one.name} and {other.name} lie differently"
    groups, pads = math.gcd(one.groups, other.groups), list(zip(one.padding, other.padding, strict=True))
    padding = tuple(max(pair) for pair in pads)
    reaches = [_reach(map_, padding) for map_ in (one, other)]
    dilation = tuple(math.gcd(*steps) or 1 for steps in zip(_steps(one, padding), _steps(other, padding), strict=True))
    kernel = [max(pair) // step + 1 for pair, step in zip(zip(*reaches, strict=True), dilation, strict=True)]
    weight = None
    for map_ in (one, other):
        part = _regrouped(map_.weight, groups)
        if weight is None:
            weight = part.new_zeros(*part.shape[:3], *kernel)
        where: list[Any] = [
            slice((p - q) // step, (p - q) // step + d // step * (k - 1) + 1, max(1, d // step))
            for p, q, step, d, k in zip(padding, map_.padding or (), dilation, map_.dilation, map_.kernel, strict=True)
        ]
        weight[..., *where] += part
    assert weight is not None
    biases = [b for b in (one.bias, other.bias) if b is not None]
    bias = None if not biases else biases[0] if len(biases) == 1 else biases[0] + biases[1]
    return LinearMap(one.name, weight, bias, one.shifts or other.shifts, one.stride, padding, dilation)


def _shrinks(map_: LinearMap) -> list[int]:
    """How many positions each dimension loses, before strides."""
    return [d * (k - 1) - 2 * p for d, k, p in zip(map_.dilation, map_.kernel, map_.padding or (), strict=True)]


def _reach(map_: LinearMap, padding: Sizes) -> list[int]:
    """How far each dimension's last tap is from where the wider padding begins."""
    given = zip(padding, map_.padding or (), map_.dilation, map_.kernel, strict=True)
    return [p - q + d * (k - 1) for p, q, d, k in given]


def _steps(map_: LinearMap, padding: Sizes) -> list[int]:
    """The distances that a common dilation has to divide."""
    given = zip(padding, map_.padding or (), map_.dilation, map_.kernel, strict=True)
    return [math.gcd(p - q, d if k > 1 else 0) for p, q, d, k in given]


def _convolved(first: LinearMap, second: LinearMap, one: Tensor, two: Tensor) -> tuple[Tensor, Sizes]:
    """The kernels' product, and its dilation."""
    strides = [s * d for s, d in zip(first.stride, second.dilation, strict=True)]  # of the second's taps, at the input
    pairs = zip(first.dilation, first.kernel, strides, second.kernel, strict=True)
    dilation = tuple(math.gcd(d if k > 1 else 0, s if n > 1 else 0) or 1 for d, k, s, n in pairs)
    inner = [d // g if k > 1 else 1 for d, k, g in zip(first.dilation, first.kernel, dilation, strict=True)]
    outer = [s // g if n > 1 else 1 for s, n, g in zip(strides, second.kernel, dilation, strict=True)]
    reach = [i * (k - 1) for i, k in zip(inner, first.kernel, strict=True)]
    kernel = [r + o * (n - 1) + 1 for r, o, n in zip(reach, outer, second.kernel, strict=True)]
    weight = one.new_zeros(one.shape[0], two.shape[1], one.shape[2], *kernel)
    for tap in itertools.product(*map(range, second.kernel)):
        where: list[Any] = [slice(o * v, o * v + r + 1, i) for o, v, r, i in zip(outer, tap, reach, inner, strict=True)]
        one_tap: Any = (..., *tap)
        weight[..., *where] += torch.einsum("gmi...,gom->goi...", one, two[one_tap])
    return weight, dilation


def _bias(first: LinearMap, second: LinearMap) -> Tensor | None:
    """(Σ W₂) b₁ + b₂, None where there is none."""
    if first.bias is None or not first.shifts:
        return second.bias
    summed_ = second.weight.flatten(3).sum(-1) if second.kernel else second.weight
    moved = torch.einsum("gom,gm->go", summed_, first.bias.reshape(second.groups, -1)).flatten()
    return moved if second.bias is None else moved + second.bias


def _regrouped(weight: Tensor, groups: int) -> Tensor:
    """The same map in fewer groups: blocks along the diagonal, zeros beside them."""
    count = weight.shape[0] // groups
    if count == 1:
        return weight
    out, inside = weight.shape[1:3]
    wide = weight.new_zeros(groups, count * out, count * inside, *weight.shape[3:])
    for index in range(count):
        block = slice(index * out, (index + 1) * out), slice(index * inside, (index + 1) * inside)
        wide[(slice(None), *block)] = weight[index::count]
    return wide


def _padding(layer: Layer) -> Sizes | None:
    given = layer.padding
    if given == "valid":
        return (0,) * layer.spatial
    if given != "same":
        return tuple(given)  # type: ignore[arg-type]
    totals = [d * (k - 1) for d, k in zip(layer.steps("dilation"), layer.kernel, strict=True)]
    return None if any(total % 2 for total in totals) else tuple(total // 2 for total in totals)
