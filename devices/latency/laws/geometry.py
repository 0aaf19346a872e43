"""The sizes that a convolution, a matrix product or a pool works with, read from a call.

convolution   [N, C, H, W] by [O, C / groups, kh, kw] to [N, O, H', W']
product       batch × ([M, K] by [K, N])
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from compressor.graph.calls import Call

__all__ = ["Convolution", "Product", "argument", "convolution_of", "pool_kernel", "product_of"]


@dataclass(frozen=True)
class Convolution:
    batch: int
    channels: int
    filters: int
    groups: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    input: tuple[int, ...]  # spatial
    output: tuple[int, ...]
    dilation: tuple[int, ...] = (1, 1)

    @property
    def area(self) -> int:
        """Of the kernel."""
        return math.prod(self.kernel)

    @property
    def pixels(self) -> int:
        """Positions of the output, of the whole batch."""
        return self.batch * math.prod(self.output)

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.channels and self.filters % self.channels == 0

    @property
    def pointwise(self) -> bool:
        """Whether it is a matrix product of the map as it lies in memory."""
        return self.area == 1 and all(step == 1 for step in self.stride)

    @property
    def row(self) -> int:
        return self.output[-1] if self.output else 1


@dataclass(frozen=True)
class Product:
    batch: int
    rows: int  # M
    inner: int  # K
    columns: int  # N


def convolution_of(call: Call) -> Convolution | None:
    """None for a call whose operands are not those of a convolution."""
    if len(call.operands) < 2 or len(call.shape) < 3 or len(call.operands[1].shape) != len(call.shape):
        return None
    source, weight, result = call.operands[0].shape, call.operands[1].shape, call.shape
    if len(source) != len(result):
        return None
    groups = max(1, source[1] // weight[1]) if weight[1] else 1
    stride, dilation = (_numbers(argument(call, place), len(result) - 2, 1) for place in (3, 5))
    return Convolution(source[0], source[1], result[1], groups, weight[2:], stride, source[2:], result[2:], dilation)


def product_of(call: Call) -> Product | None:
    """Of linear layers and products of two activations; None for a call that is neither."""
    shape = call.shape
    if not shape or not call.operands or not call.elements:
        return None
    columns = shape[-1]
    if call.kind == "linear":
        rows = call.elements // max(columns, 1)
        inner = call.macs // max(call.elements, 1) or call.operands[0].shape[-1]
        return Product(1, rows, inner, columns)
    if len(shape) < 2:
        return None
    inner = call.macs // call.elements or call.operands[0].shape[-1]
    return Product(call.elements // (shape[-2] * columns), shape[-2], inner, columns)


def pool_kernel(call: Call) -> int:
    """Elements read for each element of a pool's result."""
    if not call.inputs or not call.shape:
        return 1
    source, result = call.inputs[0].shape, call.shape
    if "adaptive" in call.op:
        return max(1, math.prod(source) // max(math.prod(result), 1))
    spatial = 1 if "1d" in call.op else 3 if "3d" in call.op else 2
    return math.prod(_numbers(argument(call, 1), spatial, 1))


def argument(call: Call, index: int, name: str = "") -> Any:
    """By its place, or by its name where it was given so; None where it was not."""
    if len(call.arguments) > index:
        return call.arguments[index]
    return dict(call.keywords).get(name)


def _numbers(value: Any, count: int, default: int) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * count
    if not isinstance(value, tuple | list):
        return (default,) * count
    listed = tuple(item if isinstance(item, int) else default for item in value)
    return listed if len(listed) == count else (listed[:1] or (default,)) * count
