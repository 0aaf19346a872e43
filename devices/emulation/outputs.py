"""What a program on an emulated core has left: its outputs by name, or the reason why it ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.devices.device import Device, Finished
from compressor.errors import ExportError

__all__ = ["outputs_of"]


def outputs_of(device: Device, done: Finished, there: str, folder: Path, *, cpu: str, name: str) -> dict[str, Tensor]:
    """The arrays in the device's file `there`, fetched into `folder`. Raises ExportError, with what the program said
    last, where it failed on `name`."""
    if done.status:
        said = (done.stderr.strip().splitlines() or [f"status {done.status}"])[-1]
        raise ExportError(f"it fails on an emulated {cpu}: {said[:300]}", where=name)
    device.pull(there, folder / "out.npz")
    with np.load(folder / "out.npz") as found:
        return {key: torch.from_numpy(found[key]) for key in found}
