"""Networks that go up again, and recurrent ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.devices.latency.networks.draw import Draw, Drawn
from compressor.devices.latency.networks.parts import conv, image

__all__ = ["recurrent", "upward"]


class _Upward(nn.Module):
    """Down, then up again with what was there before joined in."""

    def __init__(self, down: nn.Module, inner: nn.Module, up: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.down, self.inner, self.up, self.after = down, inner, up, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.cat([x, self.up(self.inner(self.down(x)))], 1))  # type: ignore[no-any-return]


def upward(draw: Draw) -> Drawn:
    """Pooling, upsampling or transposed convolutions, and skips, as in U-Net."""
    width = draw.width(8, 96)
    side = min(96, draw.side(width * 2)) // 4 * 4
    inner = draw.width(width, width * 2)
    if draw.chance(0.5):
        up: nn.Module = nn.ConvTranspose2d(inner, width, 2, 2)
    else:
        mode = draw.pick("nearest", "bilinear")
        up = nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), conv(inner, width, 3))
    body = nn.Sequential(conv(width, inner, 3), conv(inner, inner, 3))
    after = nn.Sequential(conv(2 * width, width, 3), nn.Conv2d(width, draw.pick(1, 3, 21), 1))
    return nn.Sequential(conv(3, width, 3), _Upward(nn.MaxPool2d(2), body, up, after)), image(3, side)


class _Recurrent(nn.Module):
    def __init__(self, cell: nn.Module, embedding: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.cell, self.embedding, self.head = cell, embedding, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.embedding(x))[0][:, -1])  # type: ignore[no-any-return]


def recurrent(draw: Draw) -> Drawn:
    """LSTM and GRU over words."""
    width, hidden, length = draw.width(32, 256), draw.width(32, 384), draw.between(8, 64)
    kind = draw.pick(nn.LSTM, nn.GRU)
    both = draw.chance(0.3)
    cell = kind(width, hidden, draw.pick(1, 1, 2), batch_first=True, bidirectional=both)
    model = _Recurrent(cell, nn.Embedding(2000, width), nn.Linear(hidden * (1 + both), draw.pick(2, 100)))
    return model, (torch.randint(0, 2000, (2, length)),)
