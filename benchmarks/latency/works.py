"""Multiply–accumulates of MLPerf's mobile classifiers, dense and depthwise apart, counted from their definitions.

Howard et al.: MobileNets (2017), MobileNetV3 (2019); Sandler et al.: MobileNetV2 (2018); EfficientNet-Lite's published
scaling (width, depth, resolution) of Tan, Le: EfficientNet (2019) without squeeze-and-excitation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

__all__ = ["mobile_work"]

_V1 = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
_V2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
_LITE = [
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]  # fmt: skip
_LITE_SCALES = [(1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300)]
_V3_LARGE = [
    (3, 16, 16, 0, 1), (3, 64, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 1, 2), (5, 120, 40, 1, 1), (5, 120, 40, 1, 1),
    (3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 1, 1),
    (3, 672, 112, 1, 1), (5, 672, 160, 1, 2), (5, 960, 160, 1, 1), (5, 960, 160, 1, 1),
]  # fmt: skip
_V3_SMALL = [
    (3, 16, 16, 1, 2), (3, 72, 24, 0, 2), (3, 88, 24, 0, 1), (5, 96, 40, 1, 2), (5, 240, 40, 1, 1), (5, 240, 40, 1, 1),
    (5, 120, 48, 1, 1), (5, 144, 48, 1, 1), (5, 288, 96, 1, 2), (5, 576, 96, 1, 1), (5, 576, 96, 1, 1),
]  # fmt: skip


def mobile_work(model: str) -> tuple[int, int]:
    """Dense and depthwise multiply–accumulates of one inference. Raises ValueError for a name of another family."""
    if lite := re.search(r"lite(\d)", model):
        return _lite(*_LITE_SCALES[int(lite[1])])
    if v3 := re.search(r"v3-(large|small)(-minimalistic)?_224_(\d\.\d+)_", model):
        return _v3(v3[1] == "large", bool(v3[2]), float(v3[3]))
    if older := re.search(r"v([12])-(\d\.\d+)-(\d+)", model):
        return (_v1 if older[1] == "1" else _v2)(float(older[2]), int(older[3]))
    raise ValueError(f"no definition of {model!r}")


class _Count:
    """Channels and resolution on the way through a network, and what it has cost so far."""

    def __init__(self, resolution: int) -> None:
        self.resolution, self.channels, self.dense, self.depthwise = resolution, 3, 0, 0

    def conv(self, out: int, size: int, stride: int = 1) -> None:
        self.resolution = -(-self.resolution // stride)
        self.dense += self.resolution**2 * size**2 * self.channels * out
        self.channels = out

    def per_channel(self, size: int, stride: int) -> None:
        self.resolution = -(-self.resolution // stride)
        self.depthwise += self.resolution**2 * size**2 * self.channels

    def inverted(self, inner: int, out: int, size: int, stride: int, squeezed: int = 0) -> None:
        """Expand, per channel, (squeeze and excite), project."""
        if inner != self.channels:
            self.conv(inner, 1)
        self.per_channel(size, stride)
        self.dense += 2 * inner * squeezed
        self.conv(out, 1)

    def head(self, widths: Sequence[int]) -> tuple[int, int]:
        """Pool and fully connected layers; both counts."""
        self.resolution = 1
        for width in widths:
            self.conv(width, 1)
        return self.dense, self.depthwise


def _v1(width: float, resolution: int) -> tuple[int, int]:
    count = _Count(resolution)
    count.conv(int(32 * width), 3, 2)
    for out, stride in _V1:
        count.per_channel(3, stride)
        count.conv(int(out * width), 1)
    return count.head([1001])


def _v2(width: float, resolution: int) -> tuple[int, int]:
    count = _Count(resolution)
    count.conv(_by_eight(32 * width), 3, 2)
    for expand, out, repeats, stride in _V2:
        for i in range(repeats):
            count.inverted(count.channels * expand, _by_eight(out * width), 3, stride if i == 0 else 1)
    count.conv(max(1280, _by_eight(1280 * width)), 1)
    return count.head([1001])


def _v3(large: bool, minimal: bool, width: float) -> tuple[int, int]:
    count = _Count(224)
    count.conv(16, 3, 2)
    for size, inner, out, squeeze, stride in _V3_LARGE if large else _V3_SMALL:
        wide = _by_eight(inner * width)
        squeezed = _by_eight(wide / 4) if squeeze and not minimal else 0
        count.inverted(wide, _by_eight(out * width), 3 if minimal else size, stride, squeezed)
    count.conv(_by_eight((960 if large else 576) * width), 1)
    return count.head([1280 if large else 1024, 1001])


def _lite(width: float, depth: float, resolution: int) -> tuple[int, int]:
    count = _Count(resolution)
    count.conv(32, 3, 2)
    for stage, (expand, out, repeats, stride, size) in enumerate(_LITE):
        scaled = repeats if stage in (0, len(_LITE) - 1) else math.ceil(repeats * depth)
        for i in range(scaled):
            count.inverted(count.channels * expand, _by_eight(out * width), size, stride if i == 0 else 1)
    count.conv(1280, 1)
    return count.head([1000])


def _by_eight(channels: float) -> int:
    """The multiple of eight next to it, never more than a tenth below: MobileNet's rounding."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
