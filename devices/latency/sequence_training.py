"""How one member of a sequence model is trained: streams as one batch, the loss, and its descent.

    loss = Σ_calls √share · H(ln t̂ / t) / Σ √share  +  mean_networks H(ln T̂ / T)  +  ½ mean H(ln ĉ / c)

H is Huber's, t the time of a call, T that of its network, c that of all the copies between layouts in it. Adam with
its decay apart (Loshchilov & Hutter, 2019) at a falling rate; words are hidden by chance, so that none is leant on
alone. Single precision, and the same each time on one thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import huber_loss

from compressor.devices.latency.samples import Timed
from compressor.devices.latency.sequence import Member, work_of
from compressor.devices.latency.tokens import COPIES, Sentence
from compressor.devices.latency.vocabulary import Vocabulary

__all__ = ["Batch", "Training", "batch_of", "trained"]

_NOMINAL = (1.0, 1 / 40e3, 1 / 15e3)  # microseconds a call, a multiply–accumulate, a byte: where training starts
_DECAYED = ("embed", "before", "own", "after", "out", "skip")
_TOLD = 0.005  # of a network's time: copies that take less are noise
_LOGS = (-5.0, 18.0)  # of microseconds


@dataclass(frozen=True)
class Training:
    """How a model is trained; chosen by styles of the built-in profile's networks that were left out.

    `hidden` is the share of words that a step does not see; `members` is also the number of shares left out.
    """

    members: int = 5
    width: int = 32
    steps: int = 200
    rate: float = 5e-3
    decay: float = 3e-2
    hidden: float = 0.05
    delta: float = 0.3  # of Huber's


@dataclass(frozen=True)
class Batch:
    """Sentences of all networks, one behind the other: first and last are 1 where a network begins and ends."""

    rows: Tensor
    work: Tensor
    first: Tensor
    last: Tensor
    network: Tensor
    copies: Tensor
    times: Tensor
    weights: Tensor
    totals: Tensor
    reorders: Tensor


def batch_of(known: Sequence[Timed], streams: Sequence[Sequence[Sentence]], vocabulary: Vocabulary) -> Batch:
    """The sentences of timed networks."""
    sentences = [(place, each) for place, stream in enumerate(streams) for each in stream]
    network = np.array([place for place, _ in sentences], dtype=np.int64)
    copies = np.array([each.op == COPIES for _, each in sentences])
    times = np.array([known[place].times.get(each.name, 0.0) for place, each in sentences]) * ~copies
    totals = np.array([each.network.microseconds for each in known])
    edge = np.diff(network, prepend=-1, append=len(known)) != 0
    rows = np.vstack([vocabulary.encode(stream) for stream in streams])
    work = np.vstack([work_of(stream) for stream in streams])
    return Batch(
        _tensor(rows), _tensor(work), _tensor(edge[:-1, None]), _tensor(edge[1:, None]), torch.tensor(network),
        _tensor(copies), _tensor(np.maximum(times, 1e-3)), _tensor(np.sqrt(times / totals[network])),
        _tensor(totals), _tensor(np.array([each.reorders for each in known])),
    )  # fmt: skip


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.tensor(array, dtype=torch.float32)


def _start(columns: int, seed: int, width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    square = width**-0.5
    return {
        "nominal": torch.log(torch.tensor(_NOMINAL)), "embed": random(columns, width, scale=0.1),
        "before": random(width, width, scale=square / 2), "own": random(width, width, scale=square),
        "after": random(width, width, scale=square / 2), "shift": torch.zeros(width),
        "out": random(width, scale=0.3 * square), "skip": random(width, scale=0.3 * square),
        "constant": torch.zeros(1),
    }  # fmt: skip


def _logs(parts: dict[str, Tensor], batch: Batch, rows: Tensor) -> Tensor:
    """As `Member.logs`, without its bound."""
    own = torch.tanh(rows @ parts["embed"])
    before = torch.roll(own, 1, 0) * (1 - batch.first)
    after = torch.roll(own, -1, 0) * (1 - batch.last)
    mixed = torch.relu(before @ parts["before"] + own @ parts["own"] + after @ parts["after"] + parts["shift"])
    first, per_mac, per_byte = torch.exp(parts["nominal"])
    nominal = torch.log(first + per_mac * batch.work[:, 0] + per_byte * batch.work[:, 1])
    return nominal + mixed @ parts["out"] + own @ parts["skip"] + parts["constant"]


def _loss(logs: Tensor, batch: Batch, delta: float) -> Tensor:
    logs = logs.clamp(*_LOGS)
    times, count = torch.exp(logs), len(batch.totals)
    calls = (batch.weights * _huber(logs - torch.log(batch.times), delta)).sum() / batch.weights.sum().clamp(min=1e-6)
    whole = torch.zeros(count).index_add(0, batch.network, times)
    loss = calls + _huber(torch.log(whole / batch.totals), delta).mean()
    copied = torch.zeros(count).index_add(0, batch.network, times * batch.copies)
    told = (batch.reorders > _TOLD * batch.totals) & (copied > 0)
    if told.any():
        loss = loss + 0.5 * _huber(torch.log(copied[told] / batch.reorders[told]), delta).mean()
    return loss


def _huber(off: Tensor, delta: float) -> Tensor:
    return huber_loss(off, torch.zeros_like(off), delta=delta, reduction="none")


def trained(batch: Batch, seed: int, prior: Member | None, training: Training) -> Member:
    """One member, from random numbers of this seed or, for a shorter time, from where `prior` is."""
    names = [field.name for field in fields(Member)]
    parts = _start(batch.rows.shape[1], seed, training.width)
    steps, rate = training.steps, training.rate
    if prior is not None:
        parts = {name: _tensor(getattr(prior, name)) for name in names}
        steps, rate = steps // 3, rate / 3
    for part in parts.values():
        part.requires_grad_()
    optimizer = torch.optim.AdamW([
        {"params": [parts[name] for name in _DECAYED], "weight_decay": training.decay},
        {"params": [parts[name] for name in names if name not in _DECAYED], "weight_decay": 0.0},
    ])  # fmt: skip
    generator = torch.Generator().manual_seed(1000 + seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        kept = torch.rand(batch.rows.shape, generator=generator) >= training.hidden
        loss = _loss(_logs(parts, batch, batch.rows * kept), batch, training.delta)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Member(**{name: part.detach().double().numpy() for name, part in parts.items()})
