"""Recurrent and temporal networks, and those with several, keyword, nested or integer inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from .entry import Built, floats, rows, tokens

__all__ = ["ARCHITECTURES"]


class Recurrent(nn.Module):
    """Embedding (or features), a recurrent stack, and a classifier of the last step."""

    def __init__(
        self, cell: type[nn.RNNBase], *, words: bool, layers: int = 1, both: bool = False, first: bool = True
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(96, 16) if words else None
        self.cell = cell(16, 24, num_layers=layers, bidirectional=both, batch_first=first)
        self.head, self.first = nn.Linear(24 * (1 + both), 5), first

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.cell(self.embedding(x) if self.embedding is not None else x)
        return self.head(y[:, -1] if self.first else y[-1])


class Tagger(nn.Module):
    """A label for each word: bidirectional LSTM and per-step linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(96, 16, padding_idx=0), nn.LayerNorm(32)
        self.lstm, self.head = nn.LSTM(16, 16, bidirectional=True, batch_first=True), nn.Linear(32, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.lstm(self.embedding(tokens))[0]))


class Stateful(nn.Module):
    """One LSTM step with its state in and out, for streaming."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(16, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, cell = self.cell(x, state)
        return self.head(hidden), (hidden, cell)


class Attentive(nn.Module):
    """Sequence to sequence: GRU encoder, GRU decoder, additive attention (teacher forced)."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(96, 16), nn.Embedding(96, 16)
        self.encoder = nn.GRU(16, 24, batch_first=True)
        self.decoder = nn.GRU(16, 24, batch_first=True)
        self.query, self.key, self.energy = nn.Linear(24, 16), nn.Linear(24, 16), nn.Linear(16, 1)
        self.head = nn.Linear(48, 96)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(source))
        states, _ = self.decoder(self.target(target), last)
        energy = self.energy(torch.tanh(self.query(states)[:, :, None] + self.key(memory)[:, None])).squeeze(-1)
        return self.head(torch.cat([states, energy.softmax(-1) @ memory], -1))


class WaveNet(nn.Module):
    """Gated dilated causal convolutions with skip connections."""

    def __init__(self, channels: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, channels, 1)
        self.gates = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 2, dilation=2**i) for i in range(depth))
        self.residuals = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(depth))
        self.skips = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(depth))
        self.out = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.Conv1d(channels, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), torch.zeros(())
        for index, (gate, residual, skip) in enumerate(zip(self.gates, self.residuals, self.skips, strict=True)):
            a, b = gate(F.pad(x, (2**index, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            total = total + skip(y)
            x = x + residual(y)
        return self.out(total)


class Temporal(nn.Module):
    """Temporal convolutional network: causal blocks with batch norm and residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ConstantPad1d((2 * d, 0), 0.0), nn.Conv1d(i, 16, 3, dilation=d), nn.BatchNorm1d(16), nn.ReLU()
            )
            for i, d in ((4, 1), (16, 2), (16, 4))
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x) + (x if index else 0)
        return self.head(x[:, :, -1])


class KeywordSpotter(nn.Module):
    """Depthwise-separable convolutions over a spectrogram made in the graph (framing and a fixed DFT)."""

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi * torch.arange(32.0)[:, None] * torch.arange(16.0)[None] / 32
        self.register_buffer("basis", torch.cat([angles.cos(), angles.sin()], 1) * torch.hann_window(32)[:, None])
        self.net = nn.Sequential(
            nn.Conv1d(16, 16, 3, padding=1, groups=16), nn.Conv1d(16, 32, 1), nn.BatchNorm1d(32), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 6),
        )  # fmt: skip

    def forward(self, sound: Tensor) -> Tensor:
        real, imaginary = (sound.unfold(-1, 32, 16) @ self.basis).chunk(2, -1)
        return self.net(torch.log(real**2 + imaginary**2 + 1e-4).transpose(1, 2))


class ConvLstm(nn.Module):
    """CRNN: convolutions, then columns as a sequence into a stacked bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.lstm = nn.LSTM(8 * 8, 16, 2, bidirectional=True)
        self.head = nn.Linear(32, 11)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(3, 0, 1, 2).flatten(2)
        return self.head(self.lstm(y)[0]).log_softmax(-1)


class PointNet(nn.Module):
    """Shared point MLP, symmetric max pool, with an input transform."""

    def __init__(self) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU())
        self.transform = nn.Linear(16, 9)
        self.points = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1))
        self.head = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, points: Tensor) -> Tensor:
        turn = self.transform(self.align(points).amax(2)).view(-1, 3, 3) + torch.eye(3)
        return self.head(self.points(torch.bmm(turn, points)).amax(2))


class Recommender(nn.Module):
    """DLRM: embedding tables, bottom MLP, pairwise dot interactions, top MLP; nested inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 8) for n in (50, 30, 20))
        self.bottom = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("pairs", torch.triu_indices(4, 4, 1))

    def forward(self, features: dict[str, Tensor | list[Tensor]]) -> Tensor:
        dense = self.bottom(features["dense"])
        sparse = [table(ids) for table, ids in zip(self.tables, features["sparse"], strict=True)]
        vectors = torch.stack([dense, *sparse], 1)
        dots = (vectors @ vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return torch.sigmoid(self.top(torch.cat([dense, dots], 1)))


class WideAndDeep(nn.Module):
    """Bags of words beside a deep tower."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.deep = (
            nn.EmbeddingBag(96, 8, mode="mean"),
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8)),
        )
        self.head = nn.Bilinear(8, 8, 4)

    def forward(self, *, words: Tensor, numbers: Tensor) -> Tensor:
        return self.head(self.bag(words), self.deep(numbers))


class Masked(nn.Module):
    """Mean of the unmasked steps; boolean and integer inputs by keyword, a flag that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(96, 16), nn.Linear(16, 4)

    def forward(self, ids: Tensor, mask: Tensor | None = None, normalize: bool = False) -> dict[str, Tensor]:
        x = self.embedding(ids)
        weight = mask.unsqueeze(-1).to(x.dtype) if mask is not None else torch.ones_like(x[..., :1])
        pooled = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        pooled = F.normalize(pooled, dim=-1) if normalize else pooled
        return {"pooled": pooled, "logits": self.head(pooled)}


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 3), nn.Softmax(-1)
    )


def _words(module: nn.Module, steps_first: bool = False) -> Built:
    return Built(module, (tokens(12, 2) if steps_first else tokens(2, 12),))


ARCHITECTURES = rows("sequence", {
    "mlp": lambda: Built(mlp(), (floats(2, 20),)),
    "lstm-classifier": lambda: _words(Recurrent(nn.LSTM, words=True)),
    "lstm-bidirectional-stacked": lambda: _words(Recurrent(nn.LSTM, words=True, layers=2, both=True)),
    "lstm-time-major": lambda: _words(Recurrent(nn.LSTM, words=True, first=False), True),
    "gru-classifier": lambda: Built(Recurrent(nn.GRU, words=False), (floats(2, 12, 16),)),
    "gru-bidirectional": lambda: Built(Recurrent(nn.GRU, words=False, both=True), (floats(2, 12, 16),)),
    "gru-stacked": lambda: _words(Recurrent(nn.GRU, words=True, layers=3)),
    "rnn-tanh": lambda: _words(Recurrent(nn.RNN, words=True)),
    "lstm-tagger": lambda: _words(Tagger()),
    "lstm-streaming": lambda: Built(Stateful(), (floats(2, 16), (floats(2, 24), floats(2, 24)))),
    "seq2seq-gru-attention": lambda: Built(Attentive(), (tokens(2, 12), tokens(2, 9))),
    "wavenet": lambda: Built(WaveNet(), (floats(2, 1, 64),)),
    "tcn": lambda: Built(Temporal(), (floats(2, 4, 32),)),
    "keyword-spotter": lambda: Built(KeywordSpotter(), (floats(2, 512),)),
    "crnn": lambda: Built(ConvLstm(), (floats(2, 1, 16, 32),)),
    "pointnet": lambda: Built(PointNet(), (floats(2, 3, 40),)),
    "dlrm": lambda: Built(
        Recommender(), ({"dense": floats(2, 13), "sparse": [tokens(2, below=20) for _ in range(3)]},)),
    "wide-and-deep": lambda: Built(WideAndDeep(), (), {"words": tokens(2, 7), "numbers": floats(2, 6)}),
    "masked-pooling": lambda: Built(
        Masked(), (tokens(2, 10),), {"mask": torch.arange(10) < torch.tensor([[10], [6]]), "normalize": True}),
})  # fmt: skip
