"""`compress verify` finds what was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compressor.cli.main import run


def test_a_sound_bundle(digits_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(digits_bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_one_flipped_byte_is_found(digits_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(digits_bundle, broken)
    data = bytearray((broken / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "model.onnx").write_bytes(data)
    assert run(["verify", str(broken)]) == 1
    assert "model.onnx" in capsys.readouterr().out


def test_what_is_no_bundle_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(tmp_path)]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_machine_code_is_run_only_where_it_is_trusted(tvm_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(tvm_bundle), "--json"]) == 0
    untried = json.loads(capsys.readouterr().out)
    assert (untried["ok"], untried["errors"]) == (True, {})
    assert "was not run" in untried["notes"][0]
    assert run(["verify", str(tvm_bundle), "--trust", "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert tried["errors"]["output"] < 1e-5
    assert tried["notes"] == []
