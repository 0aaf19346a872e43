"""Where compiled libraries are tried."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from boards import board
from compiled import needs_tvm, tvm_target

from compressor import trying
from compressor.export.tvm import to_tvm
from compressor.graph.program import Program
from compressor.targets.target import Compiler
from compressor.trying import bundled_library, told_compiler, trial_of

PI = Compiler("aarch64-linux-gnu", "cortex-a76", ("fp32",), "test", emulated="cortex-a76")


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def test_a_library_for_this_processor_runs_here(conv_program: Program, tmp_path: Path) -> None:
    trial = trial_of(conv_program, tvm_target(), to_tvm(conv_program, tvm_target(), tmp_path / "model.so"))
    assert trial.is_here
    assert trial.run is not None
    [x] = conv_program.example
    assert trial.run({"x": x})["output"].shape == (len(x), 5)


def test_what_nothing_runs_is_told_with_what_would_help(
    conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    target, library = board(compiler=PI), [tmp_path / "model.so"]
    trial = trial_of(conv_program, target, library)
    assert (trial.run, trial.is_here) == (None, False)
    assert trial.where.startswith("not run: it is for aarch64-linux-gnu")
    assert "emulation is not set up (compress devices setup qemu)" in trial.where
    trial = trial_of(conv_program, board(compiler=replace(PI, emulated="")), library)
    assert trial.where.endswith("this machine is x86_64-linux")
    trial = trial_of(conv_program, target, [tmp_path / "model-0.o", tmp_path / "build-model.sh"])
    assert "apt install g++-aarch64-linux-gnu" in trial.where
    assert "sh build-model.sh links it there" in trial.where


def test_an_emulated_core_runs_the_others(
    conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(trying, "lacking", lambda cpu: "")
    monkeypatch.setattr(trying, "emulated_runner", lambda *given: asked.append(given) or given)
    trial = trial_of(conv_program, board(compiler=PI), [tmp_path / "model.so"])
    assert (trial.where, trial.is_here) == ("emulated as cortex-a76", False)
    assert asked == [(tmp_path / "model.so", ["x"], ["output"], "cortex-a76")]


def test_a_bundle_s_library_is_run_as_its_manifest_says(
    conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    [path] = to_tvm(conv_program, tvm_target(), tmp_path / "model.so")
    ours = {"triple": "x86_64-linux-gnu", "processor": "x86-64-v3", "emulated": ""}
    for manifest in ({}, {"library": None}, {"library": {"triple": 3}}, {"library": ours}):
        assert not isinstance(bundled_library(path, manifest, ["x"], ["output"]), str)
    hidden = {"library": {**ours, "processor": "x86-64-v4", "features": ["-avx512f"]}}
    assert not isinstance(bundled_library(path, hidden, ["x"], ["output"]), str)
    theirs = {"library": {"triple": PI.triple, "processor": PI.cpu, "emulated": PI.emulated}}
    told = bundled_library(path, theirs, ["x"], ["output"])
    assert isinstance(told, str)
    assert told.startswith("not run: it is for aarch64-linux-gnu")


def test_what_a_manifest_says_of_a_compiler_is_what_llvm_was_told() -> None:
    told = asdict(replace(PI, features=("-avx512f", "+dotprod")))
    told = {**told, "processor": told["cpu"], "features": list(told["features"])}
    found = told_compiler(told)
    assert found is not None
    assert (found.triple, found.cpu, found.emulated) == (PI.triple, PI.cpu, PI.emulated)
    assert found.features == ("-avx512f", "+dotprod")
    for unclear in (None, 3, {**told, "features": "+dotprod"}, {**told, "features": [3]}, {**told, "triple": None}):
        assert told_compiler(unclear) is None
