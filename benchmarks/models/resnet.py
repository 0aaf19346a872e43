"""ResNet for 28 pixels: a 5×5 stem to 14, then three stages of basic blocks (He et al., arXiv 1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

__all__ = ["ResNet"]


class BasicBlock(nn.Module):
    """relu(conv(relu(conv(x))) + shortcut(x)), each convolution with its batch norm."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != out:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Logits of [N, 1, 28, 28] images."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), depth: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        inside, blocks = widths[0], []
        for stage, width in enumerate(widths):
            for index in range(depth):
                blocks.append(BasicBlock(inside, width, 2 if stage and not index else 1))
                inside = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))
