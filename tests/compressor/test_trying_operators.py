"""Where models with operators of their own are tried."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board

from compressor import trying_operators
from compressor.export import tvm_boards
from compressor.targets import load_target
from compressor.targets.target import Compiler
from compressor.trying_operators import bundled_artifact, trial_of_model

PI = Compiler("aarch64-linux-gnu", "cortex-a76", ("fp32",), "test", emulated="cortex-a76")


def test_a_model_with_operators_runs_where_these_do(
    operators_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    model = operators_bundle / "model.onnx"
    trial = trial_of_model(model, load_target("x86-64"))
    assert trial.is_here
    assert trial.run is not None
    assert trial.run({"input": torch.zeros(3, 256)})["output"].shape == (3, 64)
    trial = trial_of_model(model, board(compiler=PI))
    assert (trial.run, trial.is_here) == (None, False)
    ours = {"triple": "x86_64-linux-gnu", "processor": "x86-64-v3", "emulated": ""}
    for manifest in ({}, {"operators": 3}, {"operators": ours}):
        assert not isinstance(bundled_artifact(model, manifest, ["input"], ["output"]), str)
    theirs = {"operators": {"triple": PI.triple, "processor": PI.cpu, "emulated": PI.emulated}}
    told = bundled_artifact(model, theirs, ["input"], ["output"])
    assert isinstance(told, str)
    assert told.startswith("not run: it is for aarch64-linux-gnu")
    asked: list[Any] = []
    monkeypatch.setattr(trying_operators, "lacking", lambda cpu: "")
    monkeypatch.setattr(trying_operators, "emulated_model", lambda *given: asked.append(given) or given)
    assert trial_of_model(model, board(compiler=PI)).where == "emulated as cortex-a76"
    assert asked == [(model, "cortex-a76")]


def test_operators_run_without_the_compiler_that_made_them(
    operators_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)  # as where it is not installed
    monkeypatch.setattr(tvm_boards, "find_spec", lambda name: None)
    ours = {"operators": {"triple": "x86_64-linux-gnu", "processor": "x86-64-v3", "emulated": ""}}
    assert not isinstance(bundled_artifact(operators_bundle / "model.onnx", ours, ["input"], ["output"]), str)


def test_a_library_beside_it_is_run_as_before(tvm_bundle: Path) -> None:
    assert not isinstance(bundled_artifact(tvm_bundle / "model.so", {}, ["x"], ["output"]), str)
