"""A model whose operators were compiled for another processor, run in ONNX Runtime on an emulated core.

For correctness alone: each run starts a program, and its time means nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compressor.devices.emulation.outputs import outputs_of
from compressor.devices.opening import open_device
from compressor.devices.runners import RUNNER
from compressor.export.session import OPERATORS, Runner

__all__ = ["emulated_model"]

_SCRIPT = RUNNER / "once.py"
_TIMEOUT = 1800.0


def emulated_model(model: Path, cpu: str) -> Runner:
    """The model, with the library beside it, as a function from a batch to its outputs.

    The function raises DeviceError where emulation is not set up, ExportError where the model does not run there.
    """

    def run(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as made, open_device(f"qemu://{cpu}") as device, device.folder() as there:
            given = Path(made)
            arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in batch.items()}
            np.savez(given / "in.npz", **arrays)
            for file in (*model.parent.glob(f"{model.name}*"), model.with_name(OPERATORS), _SCRIPT):
                shutil.copyfile(file, given / file.name)
            device.push(given, f"{there}/run")
            names = (_SCRIPT.name, model.name, OPERATORS, "in.npz", "out.npz")
            done = device.run([*device.python, *(f"{there}/run/{name}" for name in names)], timeout=_TIMEOUT)
            return outputs_of(device, done, f"{there}/run/out.npz", given, cpu=cpu, name=model.name)

    return run
