"""What a program on a device has left: its arrays, or its last words as an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from own_device import OwnDevice

from compressor.devices.device import Finished
from compressor.devices.emulation.outputs import outputs_of
from compressor.errors import ExportError


def test_the_arrays_come_by_name(tmp_path: Path) -> None:
    there = tmp_path / "there.npz"
    np.savez(there, y=np.arange(3, dtype=np.float32), z=np.ones((2, 2), dtype=np.int64))

    found = outputs_of(OwnDevice(), Finished(0, "", ""), str(there), tmp_path, cpu="cortex-a76", name="model.so")

    assert set(found) == {"y", "z"}
    assert torch.equal(found["y"], torch.tensor([0.0, 1.0, 2.0]))
    assert found["z"].dtype == torch.int64


@pytest.mark.parametrize(("stderr", "said"), [("first\nno memory\n", "no memory"), ("", "status 4")])
def test_a_failure_says_what_the_program_said_last(tmp_path: Path, stderr: str, said: str) -> None:
    with pytest.raises(ExportError, match=f"model.so: it fails on an emulated cortex-a72: {said}"):
        outputs_of(OwnDevice(), Finished(4, "", stderr), "no file", tmp_path, cpu="cortex-a72", name="model.so")
