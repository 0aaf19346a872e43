"""Image in, image or maps out: segmentation, pyramids, decoders, super-resolution, detection heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from .blocks import conv, head
from .entry import Built, floats, rows

__all__ = ["ARCHITECTURES"]


class UNet(nn.Module):
    """Three levels with skips; up by transposed convolution or by interpolation."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._twice(3, 8), self._twice(8, 16), self._twice(16, 32)])
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 2, 2)
            if transposed
            else nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(i, o, 1))
            for i, o in ((32, 16), (16, 8))
        )
        self.up = nn.ModuleList([self._twice(32, 16), self._twice(16, 8)])
        self.out = nn.Conv2d(8, 4, 1)

    @staticmethod
    def _twice(inside: int, out: int) -> nn.Module:
        return nn.Sequential(conv(inside, out), conv(out, out))

    def forward(self, x: Tensor) -> Tensor:
        a = self.down[0](x)
        b = self.down[1](F.max_pool2d(a, 2))
        c = self.down[2](F.max_pool2d(b, 2))
        b = self.up[0](torch.cat([b, self.rise[0](c)], 1))
        return self.out(self.up[1](torch.cat([a, self.rise[1](b)], 1)))


class Pyramid(nn.Module):
    """Feature pyramid with a shared head on each level; a dict of lists out."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([conv(3, 16, 3, 2), conv(16, 24, 3, 2), conv(24, 32, 3, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in (16, 24, 32))
        self.smooth = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.boxes, self.classes = nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(16, 5, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        top, levels = None, []
        for lateral, smooth, feature in zip(reversed(self.lateral), self.smooth, reversed(features), strict=True):
            here = lateral(feature)
            top = here if top is None else here + F.interpolate(top, size=here.shape[-2:], mode="nearest")
            levels.append(smooth(top))
        return {"boxes": [self.boxes(y) for y in levels], "classes": [self.classes(y).sigmoid() for y in levels]}


class AtrousPooling(nn.Module):
    """DeepLab head: dilated branches, image pooling, bilinear up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2)
        self.branches = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.pooled, self.out = nn.Conv2d(16, 8, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        whole = F.interpolate(self.pooled(F.adaptive_avg_pool2d(y, 1)), size=y.shape[-2:], mode="bilinear")
        y = self.out(torch.cat([*(branch(y) for branch in self.branches), whole], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Autoencoder(nn.Module):
    """Strided convolutions down, transposed convolutions up."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), nn.Flatten(), nn.Linear(32 * 64, 32))
        self.decoder = nn.Sequential(
            nn.Linear(32, 32 * 64), nn.Unflatten(1, (32, 8, 8)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 3, 2, 1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


def vae_decoder() -> nn.Module:
    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(4, i), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(i, o, 3, padding=1))

    return nn.Sequential(
        nn.Conv2d(4, 32, 3, padding=1), block(32, 16), block(16, 16), nn.Conv2d(16, 3, 3, padding=1), nn.Tanh()
    )


def super_resolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.Tanh(), nn.Conv2d(32, 16, 3, padding=1), nn.Tanh(),
        nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3),
    )  # fmt: skip


class Generator(nn.Module):
    """Image to image with reflection padding and instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, 16, 7), nn.InstanceNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.InstanceNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.InstanceNorm2d(16), nn.ReLU(),
            nn.ReflectionPad2d(3), nn.Conv2d(16, 3, 7), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Detector(nn.Module):
    """Single-shot head: grid offsets are buffers, outputs are decoded boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32, 3, 2))
        self.out = nn.Conv2d(32, 3 * 7, 1)
        ys, xs = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        self.register_buffer("grid", torch.stack([xs, ys], -1))
        self.register_buffer("anchors", torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = x.shape[0]
        y = self.out(self.body(x)).view(n, 3, 7, 4, 4).permute(0, 1, 3, 4, 2)
        centre = (y[..., :2].sigmoid() * 2 - 0.5 + self.grid) * 8
        size = y[..., 2:4].clamp(max=4).exp() * self.anchors[:, None, None]
        boxes = torch.cat([centre - size / 2, centre + size / 2], -1).flatten(1, 3)
        return boxes, y[..., 4:].sigmoid().flatten(1, 3)


class Siamese(nn.Module):
    """Two images through one tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(conv(1, 8, 3, 2), conv(8, 16, 3, 2), head(16, 16))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = F.normalize(self.tower(left), dim=-1), F.normalize(self.tower(right), dim=-1)
        return (a * b).sum(-1)


class Flow(nn.Module):
    """Warps one image towards the other by predicted flow (grid_sample)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 2, 3, padding=1), nn.Tanh())
        identity = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 16, 16], align_corners=False)
        self.register_buffer("identity", identity)

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        flow = self.net(torch.cat([first, second], 1)).permute(0, 2, 3, 1)
        warped = F.grid_sample(second, self.identity + 0.1 * flow, align_corners=False)
        return {"flow": flow, "warped": warped}


def _image(make: Callable[[], nn.Module], side: int = 32, channels: int = 3) -> Callable[[], Built]:
    return lambda: Built(make(), (floats(2, channels, side, side),))


ARCHITECTURES = rows("image to image", {
    "unet-transposed": _image(lambda: UNet(True)),
    "unet-upsample": _image(lambda: UNet(False)),
    "feature-pyramid": _image(Pyramid),
    "deeplab": _image(AtrousPooling),
    "autoencoder": _image(Autoencoder),
    "vae-decoder": _image(vae_decoder, 8, 4),
    "super-resolution": _image(super_resolution, 16, 1),
    "cyclegan-generator": _image(Generator, 16),
    "single-shot-detector": _image(Detector),
    "siamese": lambda: Built(Siamese(), (floats(2, 1, 28, 28), floats(2, 1, 28, 28))),
    "optical-flow-warp": lambda: Built(Flow(), (), {"first": floats(2, 3, 16, 16), "second": floats(2, 3, 16, 16)}),
})  # fmt: skip
