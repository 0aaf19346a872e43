"""A small network with one layer of each kind that can be thinner, and some that cannot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program

__all__ = ["Every", "every", "functional"]


class Every(nn.Module):
    """Tokens to images to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 32)
        self.positions = nn.Parameter(torch.randn(32, 24) / 5)
        self.stem = nn.Conv2d(1, 20, 5, padding=2)
        self.depthwise = nn.Conv2d(20, 20, 3, padding=1, groups=20)
        self.wide = nn.Conv2d(20, 24, 3, stride=2, padding=1, bias=False)
        self.point = nn.Conv2d(24, 32, 1)
        self.hidden = nn.Linear(32, 48)
        self.plain = nn.Linear(48, 32, bias=False)
        self.tiny = nn.Linear(32, 5)
        self.twice = nn.Linear(32, 32)
        self.output = nn.Linear(32, 60, bias=False)
        self.output.weight = self.words.weight

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = (self.words(ids) @ self.positions).unsqueeze(1)
        x = torch.relu(self.point(torch.relu(self.wide(self.depthwise(torch.relu(self.stem(x)))))))
        x = self.plain(torch.relu(self.hidden(x.mean((2, 3)))))
        x = self.twice(torch.relu(self.twice(x)))
        return self.tiny(x), self.output(x)


def every() -> Program:
    torch.manual_seed(0)
    return capture(Every().eval(), (torch.randint(0, 60, (4, 6)),)).program


def functional(program: Program) -> Program:
    return functional_copy(program)[0]
