"""A model with operators of its own, run once as a board does it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.devices.runner import once


def test_it_writes_what_comes_out(operators_bundle: Path, tmp_path: Path) -> None:
    script = shutil.copy(once.__file__, tmp_path / "once.py")
    files = [operators_bundle / name for name in ("model.onnx", "model_ops.so", "golden.npz")]
    subprocess.run([sys.executable, script, *map(str, files), str(tmp_path / "out.npz")], check=True)
    with np.load(tmp_path / "out.npz") as found, np.load(operators_bundle / "golden.npz") as golden:
        np.testing.assert_allclose(found["output"], golden["output"], rtol=1e-5, atol=1e-5)


def test_a_wrong_call_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert once.main(["model.onnx"]) == 2
    assert "usage: " in capsys.readouterr().err
