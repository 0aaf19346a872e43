"""Where training runs: the GPU where there is one, in half precision where that is safe; else the CPU.

fp32 weights, updates and losses; matrix products in bfloat16, or in float16 with a scaled loss on older GPUs.
(Micikevicius et al., 2018, Mixed Precision Training, arXiv:1710.03740.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressor.errors import RecipeError

__all__ = ["Place", "check_device", "choose_place", "redirect"]


@dataclass(frozen=True)
class Place:
    """A device, and the dtype that autocast computes in there (None: float32 throughout)."""

    device: torch.device
    dtype: torch.dtype | None = None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Half precision where this place has it."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16 gradients from vanishing; does nothing for other dtypes."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def put(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}


def check_device(name: str) -> None:
    """Raises RecipeError unless it is "auto", "cpu", "cuda" or "cuda:1", and there."""
    if name == "auto":
        return
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda"):
        raise RecipeError(f"{name!r} is no device to train on", where="device", way_out="auto, cpu, cuda or cuda:1.")
    if chosen.type == "cuda" and not (torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count()):
        raise RecipeError(f"there is no {name} here", where="device", way_out="auto takes a GPU where there is one.")


def choose_place(device: str = "auto", precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto") -> Place:
    """The first GPU, or the CPU; bfloat16 on GPUs that have it, float16 on others, float32 on the CPU.

    Raises RecipeError for a device that is not there.
    """
    check_device(device)
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if precision != "auto":
        return Place(chosen, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])
    if chosen.type != "cuda":
        return Place(chosen)
    return Place(chosen, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def redirect(graph: fx.Graph, device: torch.device) -> None:
    """Let every node that names a device (arange, zeros, to) name this one."""
    for node in graph.nodes:
        args, kwargs = pytree.tree_map_only(torch.device, lambda _: device, (node.args, dict(node.kwargs)))
        if (args, kwargs) != (node.args, node.kwargs):
            node.args, node.kwargs = args, kwargs
