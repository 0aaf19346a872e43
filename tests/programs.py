"""Small programs that tests of several packages share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.program import Program

__all__ = ["conv", "text"]


class ConvNet(nn.Module):
    """Convolution, batch norm, in-place ReLU, linear: statistics and weights away from their initial values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)
        nn.init.uniform_(self.norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.relu(self.norm(self.conv(x))).mean((2, 3)))
        return scores


class TiedText(nn.Module):
    """Token ids and a mask in, nested outputs, integer and repeated ones too; the head's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Any]:
        hidden = self.block(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        logits = self.head(hidden)
        return {"logits": logits, "best": logits.argmax(-1), "hidden": {"last": hidden, "same": [hidden]}}


def conv() -> Program:
    torch.manual_seed(0)
    return capture(ConvNet(), (torch.randn(2, 3, 8, 8),)).program


def text() -> Program:
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (2, 6))
    return capture(TiedText(), (), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).program
