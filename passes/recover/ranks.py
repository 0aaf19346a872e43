"""Several processes as one: the samples of a batch split among them, gradients summed.

    g = Σ_r ∂/∂w (n_r / N · mean loss of r's samples)        the gradient of the whole batch, whoever computed it

Processes find each other through `torchrun`: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. gloo on CPUs, nccl on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from compressor.errors import InputError

__all__ = ["Ranks", "connect", "ranks_here"]


PATIENCE = timedelta(days=1)  # the first process may be busy with other passes for hours


@dataclass(frozen=True)
class Ranks:
    """This process among `size`. With one, every operation is the identity."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """The samples of a batch of `count` that are this process's. Raises InputError when there are too few."""
        if count < self.size:
            raise InputError(
                f"a batch of {count} cannot be split among {self.size} processes",
                where="recover", way_out=f"Give a batch of {self.size} at least, or start fewer processes.",
            )  # fmt: skip
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes."""
        if self.size == 1:
            return value
        result = value.detach().clone()
        dist.all_reduce(result)
        return result

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every process gets the sum of all gradients; in one exchange a dtype."""
        if self.size == 1:
            return
        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for dtype in dict.fromkeys(parameter.dtype for parameter in trained):
            gradients = [p.grad for p in trained if p.grad is not None and p.dtype == dtype]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def agreed(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers, where clocks or disks may differ."""
        if self.size == 1:
            return list(values)
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        told = torch.tensor(list(values), dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return [float(value) for value in told]

    def bytes_of_first(self, content: bytes) -> bytes:
        """The first process's bytes."""
        if self.size == 1:
            return content
        [length] = self.agreed([len(content)])
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        data = torch.zeros(int(length), dtype=torch.uint8, device=device)
        if self.first and content:
            data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        if int(length):
            dist.broadcast(data, 0)
        return data.cpu().numpy().tobytes()


def ranks_here() -> Ranks:
    """The processes that are connected already; one where there are none."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


def connect() -> Ranks:
    """Connect the processes that `torchrun` started; one where it started none."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ or not dist.is_available():
        return ranks_here()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return ranks_here()
