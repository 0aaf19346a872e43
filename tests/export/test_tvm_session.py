"""A compiled network on this machine's processor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from compressor.errors import ExportError
from compressor.export.tvm_session import TVMSession, tvm_runner


def test_a_prepared_run_gives_the_same_each_time_and_threads_change_nothing(tvm_bundle: Path) -> None:
    x = torch.randn(3, 1, 8, 8)
    first = TVMSession(tvm_bundle / "model.so").run([x])
    session = TVMSession(tvm_bundle / "model.so", threads=1)
    run = session.prepared([x])
    for _ in range(3):
        assert torch.equal(torch.from_numpy(run()[0].numpy()), first[0])
    strided = torch.randn(3, 1, 8, 16)[..., ::2]
    assert torch.equal(session.run([strided])[0], session.run([strided.contiguous()])[0])


def test_outputs_are_named_and_counted(tvm_bundle: Path) -> None:
    path, x = tvm_bundle / "model.so", torch.zeros(2, 1, 8, 8)
    assert tvm_runner(path, ["x"], ["output"])({"x": x})["output"].shape == (2, 10)
    with pytest.raises(ExportError, match="1 outputs, not 2"):
        tvm_runner(path, ["x"], ["output", "more"])({"x": x})


def test_inputs_of_another_shape_are_told(tvm_bundle: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.so: it fails in TVM"):
        TVMSession(tvm_bundle / "model.so").run([torch.zeros(2, 3, 8, 8)])


def test_what_is_no_library_is_told(tvm_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model.so").write_bytes((tvm_bundle / "golden.npz").read_bytes())
    with pytest.raises(ExportError, match=r"model\.so: TVM cannot load it"):
        TVMSession(tmp_path / "model.so")


def test_without_tvm_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    with pytest.raises(ExportError, match=r"cannot load it(.|\n)*edge-compressor\[tvm\]"):
        TVMSession(tmp_path / "model.so")
