"""`compress unpack BUNDLE -o DIR`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import compressor
from compressor.cli.main import run


def test_the_install_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    compressor.compress(
        nn.Sequential(nn.Linear(256, 64)), target="x86-64", inputs=["1x256"], passes="ternary", max_drop="100%",
        pack=True, out=tmp_path / "packed",
    )  # fmt: skip
    out = tmp_path / "out"
    assert run(["unpack", str(tmp_path / "packed"), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert run(["verify", str(out)]) == 0
    assert run(["unpack", str(tmp_path / "packed"), "-o", str(out)]) == 2, "it exists"
    assert run(["unpack", str(tmp_path / "packed"), "-o", str(out), "--force"]) == 0


def test_a_bundle_that_is_not_packed(digits_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unpack", str(digits_bundle), "-o", str(tmp_path / "out")]) == 2
    assert "holds no model.onnx.pack" in capsys.readouterr().err
