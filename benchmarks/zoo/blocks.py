"""Blocks of convolutional networks, written here from the published descriptions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

__all__ = [
    "Branches", "ConvNeXtBlock", "CrossStage", "Dense", "Ghost", "Inverted", "Reparameterized", "Residual", "Shuffle",
    "SqueezeExcite", "WeightNormed", "conv", "fire", "head", "residual",
]  # fmt: skip


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


def residual(
    block: str, inside: int, middle: int, out: int, stride: int, act: nn.Module, groups: int = 1, excite: bool = False
) -> Residual:
    """A "basic" or "bottleneck" ResNet block, with a projection where shapes differ."""
    body: list[nn.Module] = (
        [conv(inside, middle, 1), conv(middle, middle, 3, stride, groups), conv(middle, out, 1, act=None)]
        if block == "bottleneck"
        else [conv(inside, middle, 3, stride), conv(middle, out, 3, act=None)]
    )
    body += [SqueezeExcite(out)] if excite else []
    shortcut = conv(inside, out, 1, stride, act=None) if stride > 1 or inside != out else None
    return Residual(nn.Sequential(*body), shortcut, act)


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


class Branches(nn.Module):
    """Concatenated branches."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def fire(inside: int, squeezed: int, out: int) -> nn.Sequential:
    """SqueezeNet: few channels, from which 1×1 and 3×3 make `out` each."""
    wide = Branches(
        nn.Sequential(nn.Conv2d(squeezed, out, 1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(squeezed, out, 3, padding=1), nn.ReLU()),
    )
    return nn.Sequential(nn.Conv2d(inside, squeezed, 1), nn.ReLU(), wide)


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


class WeightNormed(nn.Module):
    """Parametrized weights: weight norm and spectral norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 16, 3))
        self.head = head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))))
