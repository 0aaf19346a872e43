"""Slices of convolutional networks, from AlexNet to ConvNeXt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.devices.latency.networks.parts import (
    Concat,
    Excite,
    Residual,
    Shuffle,
    conv,
    fits,
    head,
    image,
    pointwise,
    stemmed,
)

__all__ = ["branched", "dense", "inverted", "modern", "plain", "residual", "separable", "shuffled"]


def plain(draw: Draw) -> Drawn:
    """Convolutions, pools and fully connected layers, as in AlexNet and VGG."""
    layers: list[nn.Module] = []
    width = 3 if draw.chance(0.5) else draw.width(16, 384)
    side = draw.pick(64, 96, 112, 128, 160, 192, 224) if width == 3 else draw.side(width)
    first, norm, act = (width, side), draw.chance(0.5), draw.pick(nn.ReLU, nn.ReLU, nn.ReLU, nn.Tanh, nn.LeakyReLU)
    for position in range(draw.between(5, 9)):
        out, kernel = draw.width(max(16, width * 0.7), min(512, width * 2.5 + 16)), draw.pick(1, 3, 3, 3, 3, 5)
        stride = 1
        if position == 0 and width == 3:
            kernel, stride = draw.pick((3, 1), (3, 2), (7, 2), (5, 2), (11, 4), (4, 4))
        while not fits(width, out, max(1, side // stride), kernel) and out > 16:
            out = max(16, out // 2 // draw.multiple * draw.multiple)
        layers.append(conv(width, out, kernel, stride, norm=norm, act=act))
        width, side = out, -(-side // stride) if kernel % 2 else side // stride
        if side >= 14 and draw.chance(0.4):
            kernel, stride = draw.pick((2, 2), (3, 2))
            layers.append(draw.pick(nn.MaxPool2d, nn.MaxPool2d, nn.AvgPool2d)(kernel, stride))
            side = (side - kernel) // stride + 1
    if draw.chance(0.6):
        pooled = draw.pick(1, 2, 4, 5, 6, 7)
        pooled = min(pooled, side)
        pooled = next(p for p in range(pooled, 0, -1) if side % p == 0)
        hidden = min(draw.width(128, 4096), int(16e6 / (width * pooled**2)) + 8)
        layers += [nn.AvgPool2d(side // pooled), nn.Flatten(), nn.Linear(width * pooled**2, hidden), nn.ReLU()]
        layers += [nn.Linear(hidden, draw.pick(10, 100, 1000))]
    else:
        layers.append(head(draw, width))
    return nn.Sequential(*layers), image(*first)


def residual(draw: Draw) -> Drawn:
    """Basic and bottleneck blocks, grouped ones too, as in ResNet, ResNeXt and RegNet."""
    width = draw.width(16, 768)
    side = draw.side(width)
    first, layers, act = (width, side), [], draw.pick(nn.ReLU, nn.ReLU, nn.ReLU, nn.SiLU, nn.Hardswish)
    for _ in range(draw.between(3, 6)):
        down = draw.chance(0.35) and side >= 12
        stride = 2 if down else 1
        out = draw.width(width * 1.2, width * 2.2) if down else width
        if draw.chance(0.5):
            inner = draw.width(max(8, out / 6), out / 1.5)
            groups = draw.pick(1, 1, 1, 2, 4, 8) if inner % 8 == 0 else 1
            body = nn.Sequential(
                pointwise(draw, width, inner, act=act), conv(inner, inner, 3, stride, groups, act=act),
                pointwise(draw, inner, out, act=None),
            )  # fmt: skip
        else:
            inner = draw.width(max(8, out / 2), out) if draw.chance(0.3) else out
            while not fits(inner, max(width, out), side // stride) and inner > 16:
                inner = max(16, inner // 2 // draw.multiple * draw.multiple)
            body = nn.Sequential(conv(width, inner, 3, stride, act=act), conv(inner, out, 3, act=None))
        skip = conv(width, out, 1, stride, act=None) if down or out != width else None
        layers.append(Residual(body, skip, act()))
        width, side = out, -(-side // stride)
    return stemmed(draw, *first, act, *layers, head(draw, width))


def inverted(draw: Draw) -> Drawn:
    """Inverted residuals, with squeeze and excitation or without, as in MobileNetV2, V3 and EfficientNet."""
    width = draw.width(8, 256)
    side = min(112, draw.side(width * 4) * 2)
    first, layers = (width, side), []
    act, gate = (
        draw.pick(nn.ReLU6, nn.ReLU6, nn.ReLU, nn.Hardswish, nn.Hardswish, nn.SiLU),
        draw.pick(nn.Sigmoid, nn.Hardsigmoid),
    )
    excited = draw.pick(0.0, 0.5, 1.0)
    for _ in range(draw.between(3, 6)):
        stride = 2 if draw.chance(0.35) and side >= 12 else 1
        out = width if stride == 1 and draw.chance(0.7) else draw.width(width, width * 1.8)
        inner = draw.width(width * 2, width * 6.2) if draw.chance(0.85) else width
        kernel = draw.pick(3, 3, 3, 5, 5, 7)
        body: list[nn.Module] = [pointwise(draw, width, inner, act=act)] if inner != width else []
        body.append(conv(inner, inner, kernel, stride, inner, act=act))
        if draw.chance(excited):
            body.append(Excite(inner, draw.width(max(4, inner / 16), inner / 3), gate(), draw.chance(0.7)))
        body.append(pointwise(draw, inner, out, act=None))
        block = nn.Sequential(*body)
        layers.append(Residual(block) if stride == 1 and out == width else block)
        width, side = out, -(-side // stride)
    last = draw.width(width * 2, width * 6)
    return stemmed(draw, *first, act, *layers, conv(width, last, 1, act=act), head(draw, last))


def separable(draw: Draw) -> Drawn:
    """Depthwise then pointwise, as in MobileNetV1 and Xception."""
    width = 3 if draw.chance(0.3) else draw.width(16, 512)
    side = draw.pick(96, 128, 160, 192, 224) if width == 3 else draw.side(width)
    first, layers, act = (width, side), [], draw.pick(nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
    if width == 3:
        width, out = draw.width(16, 48), 3
        layers.append(conv(out, width, 3, 2, act=act))
        side = -(-side // 2)
    for _ in range(draw.between(4, 8)):
        stride = 2 if draw.chance(0.35) and side >= 12 else 1
        out = draw.width(width, min(1024, width * 2)) if stride == 2 else draw.width(width * 0.8, width * 1.5)
        layers.append(conv(width, width, draw.pick(3, 3, 5), stride, width, act=act))
        layers.append(pointwise(draw, width, out, act=act))
        width, side = out, -(-side // stride)
    return nn.Sequential(*layers, head(draw, width)), image(*first)


class _DenseLayer(nn.Module):
    def __init__(self, draw: Draw, width: int, growth: int, inner: int, before: bool) -> None:
        super().__init__()
        if before:
            self.body = nn.Sequential(
                nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner),
                nn.ReLU(), nn.Conv2d(inner, growth, 3, padding=1, bias=False),
            )  # fmt: skip
        else:
            self.body = nn.Sequential(conv(width, inner, 1), conv(inner, growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def dense(draw: Draw) -> Drawn:
    """Layers that read all before them, as in DenseNet."""
    width, growth, before = draw.width(32, 512), draw.width(12, 48), draw.chance(0.7)
    side = draw.side(width)
    first = width, side
    layers: list[nn.Module] = []
    for _ in range(draw.between(3, 6)):
        layers.append(_DenseLayer(draw, width, growth, draw.width(growth * 2, growth * 4), before))
        width += growth
    out = draw.width(width / 2, width / 1.9)
    layers += [nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, out, 1, bias=False))]
    layers += [nn.AvgPool2d(2, 2)] if side >= 8 else []
    return stemmed(draw, *first, nn.ReLU, *layers, nn.BatchNorm2d(out), nn.ReLU(), head(draw, out))


def branched(draw: Draw) -> Drawn:
    """Branches of several kernel sizes and fire modules, as in GoogLeNet and SqueezeNet."""
    width = draw.width(32, 512)
    side = draw.side(width)
    first, fire, norm = (width, side), draw.chance(0.5), draw.chance(0.6)
    layers: list[nn.Module] = []
    for _ in range(draw.between(2, 4)):
        if fire:
            squeezed, wide = draw.width(max(8, width / 10), width / 4), draw.width(width / 3, width)
            layers.append(conv(width, squeezed, 1, norm=norm))
            layers.append(Concat(conv(squeezed, wide, 1, norm=norm), conv(squeezed, wide, 3, norm=norm)))
            width = 2 * wide
        else:
            outs = [draw.width(max(16, width / 12), width / 2.5) for _ in range(4)]
            inner = [draw.width(max(8, width / 16), width / 3) for _ in range(2)]
            layers.append(Concat(
                conv(width, outs[0], 1, norm=norm),
                nn.Sequential(conv(width, inner[0], 1, norm=norm), conv(inner[0], outs[1], 3, norm=norm)),
                nn.Sequential(
                    conv(width, inner[1], 1, norm=norm),
                    conv(inner[1], outs[2], draw.pick(3, 5), norm=norm),
                ),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(width, outs[3], 1, norm=norm)),
            ))  # fmt: skip
            width = sum(outs)
        if draw.chance(0.4) and side >= 12:
            pool = nn.MaxPool2d(3, 2, ceil_mode=draw.chance(0.5)) if draw.chance(0.75) else nn.AvgPool2d(2)
            layers.append(pool)
            side //= 2
    return stemmed(draw, *first, nn.ReLU, *layers, head(draw, width))


def shuffled(draw: Draw) -> Drawn:
    """Split, work on half, shuffle: as in ShuffleNetV2."""
    half = draw.width(16, 256)
    first = side = draw.side(half)
    layers: list[nn.Module] = []
    for _ in range(draw.between(2, 4)):
        layers.append(Shuffle(nn.Sequential(
            conv(half, half, 1), conv(half, half, 3, 1, half, act=None), conv(half, half, 1)
        )))  # fmt: skip
        if draw.chance(0.3) and side >= 12:
            left = nn.Sequential(conv(2 * half, 2 * half, 3, 2, 2 * half, act=None), conv(2 * half, half, 1))
            right = nn.Sequential(
                conv(2 * half, half, 1), conv(half, half, 3, 2, half, act=None), conv(half, half, 1)
            )  # fmt: skip
            layers.append(Concat(left, right))
            side = -(-side // 2)
    last = draw.width(half * 2, half * 6)
    return stemmed(draw, 2 * half, first, nn.ReLU, *layers, conv(2 * half, last, 1), head(draw, last))


class _ChannelsLast(nn.Module):
    """ConvNeXt's block: depthwise, then a norm and two linear layers over the channels."""

    def __init__(self, width: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm, self.one, self.two = nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.spatial(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.two(functional.gelu(self.one(y)))).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class _NormedChannels(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def modern(draw: Draw) -> Drawn:
    """Convolutional blocks built as transformers' are: ConvNeXt."""
    width = draw.width(32, 512)
    side = draw.side(width)
    first = (width, side)
    layers: list[nn.Module] = [
        _ChannelsLast(width, draw.width(width * 1.5, width * 4), draw.pick(3, 5, 7, 7)) for _ in range(draw.pick(2, 3))
    ]
    if side >= 12:
        out = draw.width(width * 1.5, width * 2)
        layers += [_NormedChannels(width), nn.Conv2d(width, out, 2, 2), _ChannelsLast(out, draw.width(out, out * 4), 7)]
        width = out
    return nn.Sequential(*layers, head(draw, width)), image(*first)
