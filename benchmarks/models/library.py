"""Python's own library as bytes: the source of its modules, a tenth of them held out. The GPT has seen no code, so that
there is something to tune it to.
"""

from __future__ import annotations

import functools
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .gpt import CONTEXT

__all__ = ["stream", "windows"]

HELD_OUT = 10  # one module in so many


@functools.cache
def stream(split: str = "test") -> Tensor:
    """All modules of "train" or "test" as one row of bytes, int64."""
    pages = sorted(Path(os.__file__).parent.glob("*.py"))
    chosen = [page for page in pages if (zlib.crc32(page.name.encode()) % HELD_OUT == 0) == (split == "test")]
    return torch.from_numpy(np.frombuffer(b"".join(page.read_bytes() for page in chosen), np.uint8).copy()).long()


def windows(split: str, count: int, seed: int | None = None) -> Tensor:
    """[count, CONTEXT] bytes: evenly spread over the split, or with a seed from random places."""
    codes = stream(split)
    last = len(codes) - CONTEXT
    if seed is None:
        starts = torch.linspace(0, last, count, dtype=torch.float64).long()
    else:
        starts = torch.randint(0, last + 1, (count,), generator=torch.Generator().manual_seed(seed))
    return codes[starts[:, None] + torch.arange(CONTEXT)]
