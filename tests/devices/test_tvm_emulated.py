"""Compiled networks on emulated cores. What emulates is marked `emulated`: python -m pytest -m emulated."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compiled import needs_tvm
from emulation import emulated_root
from quantized import with_int8

from compressor.devices.emulation.root import Root
from compressor.devices.emulation.tvm import tvm_wheels
from compressor.devices.tvm_emulated import emulated_runner, lacking
from compressor.errors import DeviceError, ExportError
from compressor.export.check import check
from compressor.export.tvm import to_tvm
from compressor.export.tvm_boards import compiler_of
from compressor.export.tvm_linking import find_linker
from compressor.graph.program import Program
from compressor.targets import load_target
from compressor.targets.target import Compiler
from compressor.targets.tvm import with_runtime


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    assert lacking("cortex-a76") == "emulation is not set up"
    with pytest.raises(DeviceError, match=r"not set up\n.*setup qemu"):
        emulated_runner(tmp_path / "model.so", ["x"], ["y"], "cortex-a76")
    Root(tmp_path, "python3.11", {"numpy": "2"}, ("cortex-a76",)).save()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert lacking("cortex-a76") == "emulation is broken (qemu-aarch64-static is gone from this machine)"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert lacking("cortex-a76") == "the emulated root lacks TVM's runtime of this version"
    assert lacking("cortex-a99") == "no core is emulated as cortex-a99"
    Root(tmp_path, "python3.11", {"numpy": "2", **tvm_wheels()}, ("cortex-a76",)).save()
    if tvm_wheels():
        assert lacking("cortex-a76") == ""
    (tmp_path / "root.json").write_text("{")
    assert "broken" in lacking("cortex-a76")


def needs_linker() -> None:
    needs_tvm()
    if not find_linker(compiler_of(load_target("raspberry-pi-5"))).command:
        pytest.skip("needs g++-aarch64-linux-gnu or ziglang")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    needs_linker()
    found = emulated_root(tmp_path_factory)
    if reason := lacking("cortex-a76"):
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module", params=["raspberry-pi-4", "raspberry-pi-5", "android-arm64"])
def library(
    request: pytest.FixtureRequest, conv_program: Program, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Compiler, Program, Path]:
    needs_linker()
    program, target = with_int8(conv_program, "conv2d"), with_runtime(load_target(request.param), "tvm")
    [path] = to_tvm(program, target, tmp_path_factory.mktemp(request.param) / "model.so")
    return compiler_of(target), program, path


@pytest.mark.emulated
@pytest.mark.usefixtures("root")
def test_an_int8_network_agrees_with_pytorch_on_the_board_s_processor(library: tuple[Compiler, Program, Path]) -> None:
    compiler, program, path = library
    inputs, outputs = ([spec.name for spec in specs] for specs in (program.inputs, program.outputs))
    agreement = check(program, path, run=emulated_runner(path, inputs, outputs, compiler.emulated))
    assert agreement.error < 1e-5
    assert agreement.sizes, "batches of another size were tried"


def test_dot_products_are_where_the_processor_has_them(library: tuple[Compiler, Program, Path]) -> None:
    compiler, _, path = library
    tool = shutil.which("aarch64-linux-gnu-objdump")
    if tool is None:
        pytest.skip("needs binutils-aarch64-linux-gnu")
    code = subprocess.run([tool, "-d", str(path)], capture_output=True, text=True, check=True).stdout
    assert ("sdot" in code) == (compiler.cpu in ("cortex-a76", "cortex-a55"))
    assert ("smull" in code) == (compiler.cpu == "cortex-a72")


def test_matrix_products_are_where_the_processor_has_them(conv_program: Program, tmp_path: Path) -> None:
    needs_linker()
    target, tool = with_runtime(load_target("raspberry-pi-5"), "tvm"), shutil.which("aarch64-linux-gnu-objdump")
    if tool is None:
        pytest.skip("needs binutils-aarch64-linux-gnu")
    compiler = replace(compiler_of(target), cpu="neoverse-n2")
    program = with_int8(conv_program, "conv2d")
    [path] = to_tvm(program, replace(target, compiler=compiler), tmp_path / "model.so")
    code = subprocess.run([tool, "-d", str(path)], capture_output=True, text=True, check=True).stdout
    assert "smmla" in code


@pytest.mark.emulated
def test_an_instruction_that_the_core_lacks_is_told(conv_program: Program, root: Root, tmp_path: Path) -> None:
    target = with_runtime(load_target("raspberry-pi-5"), "tvm")
    assert target.compiler is not None
    program = with_int8(conv_program, "conv2d")
    [path] = to_tvm(program, replace(target, compiler=target.compiler), tmp_path / "model.so")
    run = emulated_runner(path, ["x"], ["output"], "cortex-a72")
    with pytest.raises(ExportError, match=r"model\.so: it fails on an emulated cortex-a72"):
        run({"x": torch.rand(2, 3, 8, 8)})
