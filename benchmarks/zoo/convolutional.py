"""Convolutional classifiers, written here from the published descriptions: small, except the full-size two at 224."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from .entry import Built, floats, rows

__all__ = ["ARCHITECTURES"]


def conv(
    inside: int,
    out: int,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(out)
    ]  # fmt: skip
    return nn.Sequential(*layers, *([act()] if act else []))


def head(channels: int, classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """Global average pool and a linear classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, classes))


class Residual(nn.Module):
    """act(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.shortcut(x))


class SqueezeExcite(nn.Module):
    """x · gate(mlp(mean(x)))."""

    def __init__(self, channels: int, reduction: int = 4, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


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
            body: list[nn.Module] = (
                [conv(inside, middle, 1), conv(middle, middle, 3, stride, groups), conv(middle, out, 1, act=None)]
                if block == "bottleneck"
                else [conv(inside, middle, 3, stride), conv(middle, out, 3, act=None)]
            )
            body += [SqueezeExcite(out)] if excite else []
            shortcut = conv(inside, out, 1, stride, act=None) if stride > 1 or inside != out else None
            layers.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU(inplace=True)))
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


class Inverted(nn.Module):
    """Expand, depthwise, (squeeze-excite,) project; residual where shapes allow."""

    def __init__(
        self, inside: int, out: int, stride: int, expand: int, size: int = 3,
        act: type[nn.Module] = nn.ReLU6, gate: type[nn.Module] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        middle = inside * expand
        layers: list[nn.Module] = [conv(inside, middle, 1, act=act)] if expand > 1 else []
        layers += [conv(middle, middle, size, stride, middle, act=act)]
        layers += [SqueezeExcite(middle, gate=gate)] if gate else []
        self.body = nn.Sequential(*layers, conv(middle, out, 1, act=None))
        self.residual = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


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


class Dense(nn.Module):
    """DenseNet block: each layer reads all that came before."""

    def __init__(self, inside: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inside + i * growth), nn.ReLU(),
                nn.Conv2d(inside + i * growth, 4 * growth, 1, bias=False),
                nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(depth)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def densenet() -> nn.Module:
    return nn.Sequential(
        conv(3, 16), Dense(16, 8, 3), nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1), nn.AvgPool2d(2),
        Dense(20, 8, 3), nn.BatchNorm2d(44), nn.ReLU(), head(44),
    )  # fmt: skip


class Branches(nn.Module):
    """Concatenated branches."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception() -> nn.Module:
    def block(inside: int) -> nn.Module:
        return Branches(
            conv(inside, 16, 1), nn.Sequential(conv(inside, 8, 1), conv(8, 16)),
            nn.Sequential(conv(inside, 8, 1), conv(8, 8), conv(8, 8)),
            nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(inside, 8, 1)),
        )  # fmt: skip

    return nn.Sequential(conv(3, 16, 3, 2), block(16), block(48), nn.MaxPool2d(3, 2, 1), block(48), head(48))


def squeezenet() -> nn.Module:
    def fire(inside: int, squeeze: int, out: int) -> nn.Module:
        wide = Branches(
            nn.Sequential(nn.Conv2d(squeeze, out, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(squeeze, out, 3, padding=1), nn.ReLU()),
        )
        return nn.Sequential(nn.Conv2d(inside, squeeze, 1), nn.ReLU(), wide)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), fire(16, 8, 16), fire(32, 8, 24),
        nn.Dropout(), nn.Conv2d(48, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Shuffle(nn.Module):
    """ShuffleNet V2 unit: split, transform one half, concatenate, shuffle channels."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        source = inside if stride > 1 else half
        self.stride = stride
        self.right = nn.Sequential(
            conv(source, half, 1), conv(half, half, 3, stride, half, act=None), conv(half, half, 1)
        )
        self.left = (
            nn.Sequential(conv(inside, inside, 3, 2, inside, act=None), conv(inside, half, 1)) if stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.stride > 1 else x.chunk(2, 1)
        joined = torch.cat([self.left(left) if self.left else left, self.right(right)], 1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Reparameterized(nn.Module):
    """RepVGG training block: 3×3, 1×1 and identity batch norms, added."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.wide, self.narrow = conv(inside, out, 3, stride, act=None), conv(inside, out, 1, stride, act=None)
        self.same = nn.BatchNorm2d(inside) if stride == 1 and inside == out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x) + self.narrow(x)
        return F.relu(y + self.same(x) if self.same is not None else y)


def repvgg() -> nn.Module:
    return nn.Sequential(Reparameterized(3, 16, 2), Reparameterized(16, 16, 1), Reparameterized(16, 32, 2), head(32))


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, channels-last layer norm, pointwise MLP, layer scale, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        ConvNeXtBlock(16),
        nn.Conv2d(16, 32, 2, 2),
        ConvNeXtBlock(32),
        ConvNeXtBlock(32),
        head(32),
    )


class Ghost(nn.Module):
    """Half the channels by a convolution, the other half by a cheap depthwise one."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.primary, self.cheap = conv(inside, out // 2, 1), conv(out // 2, out // 2, 3, 1, out // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], 1)


class CrossStage(nn.Module):
    """CSP stage: split by two 1×1 convolutions, run blocks on one half, join."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        half = channels // 2
        self.left, self.right = conv(channels, half, 1, act=nn.SiLU), conv(channels, half, 1, act=nn.SiLU)
        self.blocks = nn.Sequential(
            *(
                Residual(nn.Sequential(conv(half, half, 1, act=nn.SiLU), conv(half, half, act=nn.SiLU)))
                for _ in range(depth)
            )
        )
        self.join = conv(channels, channels, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.blocks(self.right(x)), self.left(x)], 1))


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


class WeightNormed(nn.Module):
    """Parametrized weights: weight norm and spectral norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 16, 3))
        self.head = head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


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
