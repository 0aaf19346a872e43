"""Classic convolutional families at random widths, depths and resolutions, built from the zoo's blocks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from latency_draw import Built, side_of, wide_of
from torch import Tensor, nn
from zoo.blocks import Branches, Dense, Inverted, Shuffle, conv, fire, residual
from zoo.convolutional import V2

__all__ = ["CONVOLUTIONAL"]


def _images(side: int) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, side, side),)


def _pooled(width: int, classes: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def _alexnet(draw: random.Random) -> Built:
    c = [wide_of(draw, width) for width in (64, 192, 384, 256, 256)]
    hidden, kernel, size = draw.choice((512, 1024, 2048)), draw.choice((3, 5)), draw.choice((9, 11))
    return nn.Sequential(
        nn.Conv2d(3, c[0], size, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c[0], c[1], kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c[1], c[2], 3, padding=1), nn.ReLU(), nn.Conv2d(c[2], c[3], 3, padding=1), nn.ReLU(),
        nn.Conv2d(c[3], c[4], 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Dropout(),
        nn.Linear(c[4] * 36, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, 1000),
    ), _images(224)  # fmt: skip


def _vgg(draw: random.Random) -> Built:
    layers: list[nn.Module] = []
    inside, norm = 3, draw.random() < 0.5
    side = side_of(draw, 96, 112, 128, 160)
    for width, most in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        out = wide_of(draw, width, 0.3, 0.8)
        for _ in range(draw.randint(1, most)):
            layers += [nn.Conv2d(inside, out, 3, padding=1), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU()]
            inside = out
        layers.append(nn.MaxPool2d(2))
    hidden = draw.choice((256, 512, 1024))
    head = [nn.Flatten(), nn.Linear(inside * (side // 32) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 1000)]
    return nn.Sequential(*layers, *head), _images(side)


def _resnet(draw: random.Random, block: str) -> Built:
    width, excite = wide_of(draw, 64, 0.4, 1.0), draw.random() < 0.15
    groups = draw.choice((1, 1, 1, 8)) if block == "bottleneck" else 1
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inside, times = width, 4 if block == "bottleneck" else 1
    for stage in range(4):
        middle = wide_of(draw, width * 2**stage, 0.8, 1.2)
        out = middle * times
        for index in range(draw.randint(1, 3)):
            stride = 2 if index == 0 and stage else 1
            layers.append(residual(block, inside, middle, out, stride, nn.ReLU(), groups, excite))
            inside = out
    return nn.Sequential(*layers, *_pooled(inside)), _images(side_of(draw))


def _densenet(draw: random.Random) -> Built:
    growth = draw.choice((12, 16, 24, 32))
    inside = 2 * growth
    layers: list[nn.Module] = [conv(3, inside, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, most in enumerate((5, 6, 8, 6)):
        depth = draw.randint(2, most)
        layers.append(Dense(inside, growth, depth))
        inside += depth * growth
        if stage < 3:
            out = inside // 2
            layers += [nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, out, 1, bias=False), nn.AvgPool2d(2)]
            inside = out
    return nn.Sequential(*layers, nn.BatchNorm2d(inside), nn.ReLU(), *_pooled(inside)), _images(side_of(draw))


def _squeezenet(draw: random.Random) -> Built:
    inside = wide_of(draw, 64)
    layers: list[nn.Module] = [nn.Conv2d(3, inside, draw.choice((3, 7)), 2), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    for index, (squeezed, out) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    ):
        squeezed, out = wide_of(draw, squeezed), wide_of(draw, out)
        layers += fire(inside, squeezed, out)
        inside = 2 * out
        layers += [nn.MaxPool2d(3, 2, ceil_mode=True)] if index in (1, 3) else []
    layers += [nn.Dropout(), nn.Conv2d(inside, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), _images(side_of(draw))


def _googlenet(draw: random.Random) -> Built:
    def block(inside: int, sizes: tuple[int, ...]) -> tuple[nn.Module, int]:
        a, b, c, d, e, f = (wide_of(draw, size) for size in sizes)
        module = Branches(
            conv(inside, a, 1), nn.Sequential(conv(inside, b, 1), conv(b, c)),
            nn.Sequential(conv(inside, d, 1), conv(d, e, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inside, f, 1)),
        )  # fmt: skip
        return module, a + c + e + f

    first, second = wide_of(draw, 64), wide_of(draw, 192)
    layers: list[nn.Module] = [conv(3, first, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(first, first, 1)]
    layers += [conv(first, second), nn.MaxPool2d(3, 2, ceil_mode=True)]
    inside = second
    for index, sizes in enumerate((
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
        (256, 160, 320, 32, 128, 128),
    )):  # fmt: skip
        module, inside = block(inside, sizes)
        layers += [module, *([nn.MaxPool2d(3, 2, ceil_mode=True)] if index in (1, 3) else [])]
    return nn.Sequential(*layers, *_pooled(inside)), _images(side_of(draw))


def _shufflenet(draw: random.Random) -> Built:
    inside, stem = 24, 24
    layers: list[nn.Module] = [conv(3, stem, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for width, depth in zip((116, 232, 464), (3, 6, 3), strict=True):
        out = wide_of(draw, width, 0.4, 1.4, 4)
        for index in range(draw.randint(2, depth + 1)):
            layers.append(Shuffle(inside, out, 2 if index == 0 else 1))
            inside = out
    last = wide_of(draw, 1024, 0.5, 1.0)
    return nn.Sequential(*layers, conv(inside, last, 1), *_pooled(last)), _images(side_of(draw))


def _mobile(
    draw: random.Random, stages: tuple[tuple[int, ...], ...], act: Any, gate: Any, sizes: tuple[int, ...]
) -> Built:
    inside = wide_of(draw, 32, 0.5, 1.0)
    layers: list[nn.Module] = [conv(3, inside, 3, 2, act=act)]
    for expand, width, depth, stride in stages:
        out, size = wide_of(draw, width, 0.5, 1.2), draw.choice(sizes)
        excited = gate if gate is not None and draw.random() < 0.7 else None
        for index in range(draw.randint(1, depth)):
            times = expand if expand == 1 else draw.choice((3, 4, 6))
            layers.append(Inverted(inside, out, stride if index == 0 else 1, times, size, act, excited))
            inside = out
    last = wide_of(draw, 1280, 0.5, 1.0)
    return nn.Sequential(*layers, conv(inside, last, 1, act=act), *_pooled(last)), _images(side_of(draw))


_V3 = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 40, 3, 2), (6, 80, 4, 2), (6, 112, 2, 1), (6, 160, 3, 2))
_EFFICIENT = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2), (6, 112, 3, 1), (6, 192, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def _mobilenet_v1(draw: random.Random) -> Built:
    inside = wide_of(draw, 32, 0.4, 1.0)
    layers: list[nn.Module] = [conv(3, inside, 3, 2)]
    for width, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (1024, 2), (1024, 1),
    ):  # fmt: skip
        out = wide_of(draw, width, 0.4, 1.0)
        layers += [conv(inside, inside, draw.choice((3, 3, 5)), stride, inside), conv(inside, out, 1)]
        inside = out
    return nn.Sequential(*layers, *_pooled(inside)), _images(side_of(draw))


CONVOLUTIONAL: dict[str, Callable[[random.Random], Built]] = {
    "alexnet": _alexnet,
    "vgg": _vgg,
    "resnet": lambda draw: _resnet(draw, "basic"),
    "resnet-bottleneck": lambda draw: _resnet(draw, "bottleneck"),
    "densenet": _densenet,
    "squeezenet": _squeezenet,
    "googlenet": _googlenet,
    "shufflenet-v2": _shufflenet,
    "mobilenet-v1": _mobilenet_v1,
    "mobilenet-v2": lambda draw: _mobile(draw, V2, nn.ReLU6, None, (3, 3, 5)),
    "mobilenet-v3": lambda draw: _mobile(draw, _V3, nn.Hardswish, nn.Hardsigmoid, (3, 5)),
    "efficientnet": lambda draw: _mobile(draw, _EFFICIENT, nn.SiLU, nn.Sigmoid, (3, 5)),
}
