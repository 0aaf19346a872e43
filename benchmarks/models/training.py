"""What the training scripts share: Muon, time budgets, checkpoints that survive kill -9, averages, the files."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FOLDER", "Averaged", "Muon", "Run", "half", "one_cycle", "optimizers", "replace", "seconds", "store"]

FOLDER = Path(__file__).resolve().parent
EVERY = 60.0  # seconds between checkpoints
ROW = 100  # steps for each row of a loss curve
State = dict[str, Tensor]


def seconds(text: str) -> float:
    """`90`, `90s`, `20min` or `1.5h` in seconds."""
    match = re.fullmatch(r"([\d.]+)\s*(s|min|h)?", text)
    if match is None:
        raise ValueError(f"{text!r} is no time: write 90s, 20min or 1.5h")
    return float(match[1]) * {None: 1, "s": 1, "min": 60, "h": 3600}[match[2]]


def replace(path: Path, value: Any) -> None:
    """Saves `value` whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    if path.suffix == ".json":
        partial.write_text(_json(value))
    else:
        torch.save(value, partial)
    os.replace(partial, path)


def half(state: State) -> State:
    """Floating-point tensors in fp16, contiguous; all else as it is."""
    return {name: (t.half() if t.is_floating_point() else t).contiguous().clone() for name, t in state.items()}


class Averaged:
    """The running average of a model's state, batch norm statistics included; it forgets faster at first."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, weight)
            else:
                self.state[name].copy_(tensor)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: Keller Jordan's optimizer for matrices, with steps as large as AdamW's (2502.16982).

    A convolution's weight is the matrix of its output channels.

    torch.optim.Muon computes in bfloat16, which is some 20 times slower on a CPU without it.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float, decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                buffer = self.state[weight].setdefault("buffer", torch.zeros_like(weight))
                buffer.lerp_(weight.grad, 1 - group["momentum"])
                matrix = weight.grad.lerp(buffer, group["momentum"]).flatten(1)
                update = orthogonal(matrix).reshape(weight.shape)
                weight.mul_(1 - group["lr"] * group["decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with all singular values about one, by Newton–Schulz iterations."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def optimizers(model: nn.Module, rate: float, decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest; no decay on norms, biases and positions.

    A depthwise convolution is no matrix.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if n.startswith("blocks.") and p.ndim > 1 and p.shape[1] > 1]
    plain = [p for n, p in named if p.ndim < 2 or n.startswith("positions")]
    chosen = {id(p) for p in (*matrices, *plain)}
    rest = [p for _, p in named if id(p) not in chosen]
    groups = [{"params": rest, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    return [Muon(matrices, rate, decay), torch.optim.AdamW(groups, rate, betas=(0.9, 0.98))]


def one_cycle(done: float, warm: float = 0.2) -> float:
    """The learning rate's share of its peak: up in a line, down along a cosine."""
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm) / (1 - warm))


class Run:
    """A training's clock and checkpoint. A killed run goes on from the last checkpoint, to the same result."""

    def __init__(self, name: str, model: nn.Module, averaged: Averaged, optimizers: list[Any], settings: Any) -> None:
        self.path = FOLDER / f"{name}.checkpoint"
        self.model, self.averaged, self.optimizers, self.settings = model, averaged, optimizers, settings
        self.peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        self.step, self.before = 0, 0.0
        self.curve: list[list[float]] = []  # step and mean training loss since the row before
        self.losses: list[float] = []
        if self.path.exists():
            kept = torch.load(self.path, weights_only=True)
            if kept["settings"] != settings:
                raise SystemExit(f"{self.path.name} is of a run with other settings: finish that one, or delete it")
            self.step, self.before, self.curve = kept["step"], kept["seconds"], kept["curve"]
            self.losses = kept["losses"]
            model.load_state_dict(kept["model"])
            averaged.state = kept["averaged"]
            for optimizer, state in zip(optimizers, kept["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            print(f"resumed at step {self.step}", flush=True)
        self.started = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of training, over all of its processes."""
        return self.before + time.perf_counter() - self.started

    def goes_on(self, steps: int, budget: float | None) -> bool:
        """Whether there is another step to take and time for it; keeps a checkpoint when one is due."""
        spent = budget is not None and time.perf_counter() - self.started > budget
        if self.step < steps and (spent or time.perf_counter() - self.saved > EVERY):
            self.save()
        if self.step < steps and spent:
            print(f"out of budget at step {self.step} of {steps}: start again to go on")
        return self.step < steps and not spent

    def update(self, loss: Tensor, share: float) -> None:
        """One step of all optimizers, at `share` of their peak rates."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, self.peaks, strict=True):
            group["lr"] = peak * share
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.averaged.update(self.step)
        self.losses.append(loss.item())
        if len(self.losses) == ROW:
            self.curve.append([self.step, round(sum(self.losses) / ROW, 4)])
            self.losses = []
            print(f"step {self.step}  loss {self.curve[-1][1]:.4f}  {self.seconds:.0f} s", flush=True)

    def save(self) -> None:
        replace(self.path, {
            "settings": self.settings, "step": self.step, "seconds": self.seconds, "curve": self.curve,
            "losses": self.losses,
            "model": self.model.state_dict(), "averaged": self.averaged.state,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        })  # fmt: skip
        self.saved = time.perf_counter()


def store(name: str, state: State, record: dict[str, Any]) -> None:
    """Writes NAME.pt (the fp16 state dict) and NAME.json beside this file."""
    replace(FOLDER / f"{name}.pt", state)
    replace(FOLDER / f"{name}.json", {
        "model": name, "bytes": (FOLDER / f"{name}.pt").stat().st_size, **record, "torch": torch.__version__,
        "python": platform.python_version(), "threads": torch.get_num_threads(),
    })  # fmt: skip


def _json(value: Any) -> str:
    """Indented, but with lists of numbers on one line."""
    text = json.dumps(value, indent=2)
    return re.sub(r"\[[-\d\s.,e]*\]", lambda row: "[" + " ".join(row[0][1:-1].split()) + "]", text) + "\n"
