"""Networks with one channel far louder than the rest, which equalization makes even, and data for them."""

from __future__ import annotations

import torch
from boards import board
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program

__all__ = ["Attention", "Convolutions", "prepared"]


class Attention(nn.Module):
    """A norm before q, k and v, values through attention to the output layer, and a gated MLP after a plain norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.plain = nn.LayerNorm(64), nn.LayerNorm(64, elementwise_affine=False)
        self.q, self.k, self.v, self.out = (nn.Linear(64, 64) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(64, 96), nn.Linear(64, 96), nn.Linear(96, 64)
        with torch.no_grad():
            self.norm.weight[5] *= 50
            for layer in (self.q, self.k, self.v):
                layer.weight[:, 5] /= 50

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).unflatten(-1, (4, 16)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = self.plain(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Convolutions(nn.Module):
    """An inverted residual with plain ReLUs; one unit of the first layer is large, and what reads it small."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.deep = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project, self.head = nn.Conv2d(24, 8, 1), nn.Linear(8, 4)
        with torch.no_grad():
            self.expand.weight[3] *= 50
            self.deep.weight[3] /= 50

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.deep(functional.relu(self.expand(x))))
        return self.head(functional.adaptive_avg_pool2d(functional.relu(self.project(h)), 1).flatten(1))


def prepared(net: nn.Module) -> tuple[Program, Context, Tensor]:
    shape = (48, 10, 64) if isinstance(net, Attention) else (48, 8, 12, 12)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    program = capture(net.eval(), (x[:2],)).program
    return program, Context(board(), calibration=[{program.inputs[0].name: x[:32]}], synthetic=False), x[32:]
