"""What convolutional networks are put together from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.devices.latency.networks.draw import Draw, Drawn

_MACS = 220e6  # of one convolution at most

__all__ = ["Concat", "Excite", "Residual", "Shuffle", "conv", "fits", "head", "image", "pointwise", "settle", "stemmed"]


class Residual(nn.Module):
    def __init__(self, body: nn.Module, skip: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip, self.after = body, skip or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.skip(x) + self.body(x))  # type: ignore[no-any-return]


class Concat(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, squeezed: int, gate: nn.Module, convolutional: bool) -> None:
        super().__init__()
        self.convolutional = convolutional
        first, second = (
            (nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1))
            if convolutional
            else (nn.Linear(width, squeezed), nn.Linear(squeezed, width))
        )
        self.gate = nn.Sequential(first, nn.ReLU(), second, gate)

    def forward(self, x: Tensor) -> Tensor:
        if self.convolutional:
            return x * self.gate(functional.adaptive_avg_pool2d(x, 1))  # type: ignore[no-any-return]
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]  # type: ignore[no-any-return]


class Shuffle(nn.Module):
    """Half of the channels through a branch, then both halves interleaved."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, 1)
        both = torch.cat([kept, self.branch(worked)], 1)
        n, c, h, w = both.shape
        return both.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def conv(
    into: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1, *,
    act: Callable[[], nn.Module] | None = nn.ReLU, norm: bool = True,
) -> nn.Sequential:  # fmt: skip
    layers: list[nn.Module] = [nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=not norm)]
    layers += [nn.BatchNorm2d(out)] if norm else []
    layers += [act()] if act else []
    return nn.Sequential(*layers)


def pointwise(
    draw: Draw, into: int, out: int, stride: int = 1, *, act: Callable[[], nn.Module] | None = nn.ReLU
) -> nn.Sequential:  # fmt: skip
    """A 1×1 convolution, now and then as a pair of low rank."""
    if min(into, out) < 24 or not draw.chance(0.12):
        return conv(into, out, 1, stride, act=act)
    rank = draw.between(min(into, out) / 6, min(into, out) / 2)
    return nn.Sequential(nn.Conv2d(into, rank, 1, bias=False), conv(rank, out, 1, stride, act=act))


@torch.no_grad()
def settle(module: nn.Module, example: tuple[Tensor, ...]) -> None:
    """Set the norms' statistics to those of the example: activations stay near one, as in a trained network.

    With those of a fresh one they fade layer by layer until they are denormal, which processors compute slowly.
    """
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    module(*example)
    for norm in norms:
        norm.eval().running_var.clamp_(min=1e-2)  # type: ignore[union-attr]


def fits(width: int, out: int, side: int, kernel: int = 3, groups: int = 1) -> bool:
    return width * out * side**2 * kernel**2 / groups <= _MACS


def image(width: int, side: int) -> tuple[Tensor, ...]:
    return (torch.randn(2, width, side, side),)


def stemmed(draw: Draw, width: int, side: int, act: Callable[[], nn.Module] | None, *layers: nn.Module) -> Drawn:
    """The layers behind a map, or now and then behind an image and the strided convolution that reads it."""
    if draw.chance(0.5) or side < 20:
        return nn.Sequential(*layers), image(width, side)
    if side <= 56 and draw.chance(0.6):
        stem = [conv(3, width, draw.pick(3, 7, 7), 2, act=act), nn.MaxPool2d(3, 2, 1)]
        return nn.Sequential(*stem, *layers), image(3, side * 4)
    return nn.Sequential(conv(3, width, draw.pick(3, 3, 5, 7), 2, act=act), *layers), image(3, side * 2)


def head(draw: Draw, width: int) -> nn.Module:
    classes = draw.pick(10, 100, 1000)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
