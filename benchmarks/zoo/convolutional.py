"""Convolutional classifiers, written here from the published descriptions: small, except the full-size two at 224."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

from .blocks import (
    Branches,
    ConvNeXtBlock,
    CrossStage,
    Dense,
    Ghost,
    Inverted,
    Reparameterized,
    Residual,
    Shuffle,
    WeightNormed,
    conv,
    fire,
    head,
    residual,
)
from .entry import Built, floats, rows

__all__ = ["ARCHITECTURES", "V2"]


def plain(norm: bool = True) -> nn.Module:
    layers: list[nn.Module] = []
    for inside, out in ((3, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(inside, out, 3, padding=1),
            *([nn.BatchNorm2d(out)] if norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 11, 4, 2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 2)),
        nn.Flatten(), nn.Dropout(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def resnet(
    block: str,
    depths: tuple[int, ...],
    width: int,
    classes: int = 10,
    groups: int = 1,
    excite: bool = False,
    big: bool = False,
) -> nn.Module:
    expansion = 4 if block == "bottleneck" else 1
    stem: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)] if big else [conv(3, width)]
    layers, inside = stem, width
    for stage, depth in enumerate(depths):
        middle, out = width * 2**stage, width * 2**stage * expansion
        for index in range(depth):
            stride = 2 if index == 0 and stage else 1
            layers.append(residual(block, inside, middle, out, stride, nn.ReLU(inplace=True), groups, excite))
            inside = out
    return nn.Sequential(*layers, head(inside, classes))


def preactivation() -> nn.Module:
    def block(inside: int, out: int) -> nn.Module:
        body = nn.Sequential(
            nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1, bias=False),
        )  # fmt: skip
        return Residual(body, nn.Conv2d(inside, out, 1, bias=False) if inside != out else None)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), block(16, 16), block(16, 32), nn.BatchNorm2d(32), nn.ReLU(), head(32)
    )


V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(width: float = 1.0, classes: int = 1000, stages: tuple[tuple[int, ...], ...] = V2) -> nn.Module:
    inside = max(8, int(32 * width))
    layers: list[nn.Module] = [conv(3, inside, 3, 2, act=nn.ReLU6)]
    for expand, channels, depth, stride in stages:
        out = max(8, int(channels * width))
        for index in range(depth):
            layers.append(Inverted(inside, out, stride if index == 0 else 1, expand))
            inside = out
    last = int(1280 * min(width, 1.0))
    return nn.Sequential(*layers, conv(inside, last, 1, act=nn.ReLU6), head(last, classes, 0.2))


def mobilenet_v1() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 8, 3, 2)]
    for inside, out, stride in ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)):
        layers += [conv(inside, inside, 3, stride, inside), conv(inside, out, 1)]
    return nn.Sequential(*layers, head(64))


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2, act=nn.Hardswish),
        Inverted(16, 16, 2, 1, 3, nn.ReLU, nn.Hardsigmoid), Inverted(16, 24, 2, 4, 3, nn.ReLU),
        Inverted(24, 24, 1, 4, 5, nn.Hardswish, nn.Hardsigmoid), conv(24, 64, 1, act=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 96, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip


def efficientnet() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2, act=nn.SiLU), Inverted(16, 8, 1, 1, 3, nn.SiLU, nn.Sigmoid),
        Inverted(8, 16, 2, 6, 3, nn.SiLU, nn.Sigmoid), Inverted(16, 16, 1, 6, 3, nn.SiLU, nn.Sigmoid),
        Inverted(16, 24, 2, 6, 5, nn.SiLU, nn.Sigmoid), conv(24, 64, 1, act=nn.SiLU), head(64),
    )  # fmt: skip


def densenet() -> nn.Module:
    return nn.Sequential(
        conv(3, 16), Dense(16, 8, 3), nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1), nn.AvgPool2d(2),
        Dense(20, 8, 3), nn.BatchNorm2d(44), nn.ReLU(), head(44),
    )  # fmt: skip


def inception() -> nn.Module:
    def block(inside: int) -> nn.Module:
        return Branches(
            conv(inside, 16, 1), nn.Sequential(conv(inside, 8, 1), conv(8, 16)),
            nn.Sequential(conv(inside, 8, 1), conv(8, 8), conv(8, 8)),
            nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(inside, 8, 1)),
        )  # fmt: skip

    return nn.Sequential(conv(3, 16, 3, 2), block(16), block(48), nn.MaxPool2d(3, 2, 1), block(48), head(48))


def squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), fire(16, 8, 16), fire(32, 8, 24),
        nn.Dropout(), nn.Conv2d(48, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def repvgg() -> nn.Module:
    return nn.Sequential(Reparameterized(3, 16, 2), Reparameterized(16, 16, 1), Reparameterized(16, 32, 2), head(32))


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        ConvNeXtBlock(16),
        nn.Conv2d(16, 32, 2, 2),
        ConvNeXtBlock(32),
        ConvNeXtBlock(32),
        head(32),
    )


def darknet() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2, act=nn.SiLU), CrossStage(16, 1), conv(16, 32, 3, 2, act=nn.SiLU), CrossStage(32, 2), head(32)
    )


def odd_activations() -> nn.Module:
    acts = (
        nn.PReLU(16),
        nn.ELU(),
        nn.LeakyReLU(0.1),
        nn.Softplus(),
        nn.Mish(),
        nn.CELU(),
        nn.SELU(),
        nn.Softsign(),
        nn.GELU(),
    )
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for act in acts:
        layers += [act, nn.Conv2d(16, 16, 1)]
    return nn.Sequential(*layers, head(16))


def other_norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
        nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3),
        nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(3, 2, 1, count_include_pad=False), head(16),
    )  # fmt: skip


def video() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(8, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def _image(make: Callable[[], nn.Module], side: int = 32, channels: int = 3, batch: int = 2) -> Callable[[], Built]:
    return lambda: Built(make(), (floats(batch, channels, side, side),))


P = functools.partial
ARCHITECTURES = rows("cnn", {
    "lenet": _image(lenet, 28, 1),
    "plain-cnn": _image(plain),
    "plain-cnn-no-norm": _image(P(plain, norm=False)),
    "alexnet-small": _image(alexnet, 64),
    "resnet-basic": _image(P(resnet, "basic", (1, 1, 1), 16)),
    "resnet-bottleneck": _image(P(resnet, "bottleneck", (1, 1), 16)),
    "resnet50-224": _image(P(resnet, "bottleneck", (3, 4, 6, 3), 64, 1000, big=True), 224, batch=1),
    "resnet-preactivation": _image(preactivation),
    "resnext": _image(P(resnet, "bottleneck", (1, 1), 16, groups=4)),
    "se-resnet": _image(P(resnet, "basic", (1, 1), 16, excite=True)),
    "mobilenet-v1": _image(mobilenet_v1),
    "mobilenet-v2-224": _image(mobilenet_v2, 224, batch=1),
    "mobilenet-v2-small": _image(P(mobilenet_v2, 0.25, 10, V2[:4])),
    "mobilenet-v3": _image(mobilenet_v3),
    "efficientnet": _image(efficientnet),
    "densenet": _image(densenet),
    "inception": _image(inception),
    "squeezenet": _image(squeezenet),
    "shufflenet-v2": _image(lambda: nn.Sequential(conv(3, 16, 3, 2), Shuffle(16, 32, 2), Shuffle(32, 32, 1), head(32))),
    "repvgg": _image(repvgg),
    "convnext": _image(convnext),
    "ghostnet": _image(lambda: nn.Sequential(conv(3, 16, 3, 2), Ghost(16, 24), Ghost(24, 32), head(32))),
    "csp-darknet": _image(darknet),
    "odd-activations": _image(odd_activations, 16),
    "other-norms": _image(other_norms, 16),
    "video-3d": lambda: Built(video(), (floats(2, 3, 8, 16, 16),)),
    "weight-normed": _image(WeightNormed, 16),
})  # fmt: skip
