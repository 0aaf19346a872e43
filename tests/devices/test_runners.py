"""What is pushed onto a device to run models there."""

from __future__ import annotations

import json
from pathlib import Path

from own_device import OwnDevice

from compressor.devices.runners import PYTHON, RUNNER, python_runner


def test_the_runner_in_python_is_its_folder_and_reads_json(tmp_path: Path) -> None:
    PYTHON.put(tmp_path / "there")
    assert (tmp_path / "there" / "__main__.py").read_bytes() == (RUNNER / "__main__.py").read_bytes()
    assert not (tmp_path / "there" / "__pycache__").exists()
    device = OwnDevice(python=("python3.11",))
    assert PYTHON.command(device, "/there/runner") == ["python3.11", "/there/runner"]
    assert json.loads(PYTHON.document({"jobs": [], "min_runs": 3})) == {"jobs": [], "min_runs": 3}
    assert "python3.11" in PYTHON.needs(device)
    PYTHON.fits(device, device.describe())


def test_the_digest_is_of_the_runners_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = python_runner(tmp_path).digest()
    (tmp_path / "a.py").write_text("2")
    assert len({before, python_runner(tmp_path).digest(), PYTHON.digest()}) == 3
