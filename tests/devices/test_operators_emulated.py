"""Operators for other processors, on emulated cores where marked `emulated`: python -m pytest -m emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm
from emulation import emulated_root
from own_operators import in_blocks, tied, with_operators

from compressor.devices.emulation.root import Root
from compressor.devices.operators_emulated import emulated_model
from compressor.errors import DeviceError, ExportError
from compressor.export.check import check
from compressor.export.tvm_boards import compiler_of
from compressor.export.tvm_linking import find_linker
from compressor.targets import Target, load_target


def pi(number: int) -> Target:
    """A board whose operators can be built here."""
    needs_tvm()
    target = load_target(f"raspberry-pi-{number}")
    if not find_linker(compiler_of(target)).command:
        pytest.skip("needs g++-aarch64-linux-gnu or ziglang")
    return target


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return emulated_root(tmp_path_factory)


def test_without_emulation_it_says_how_to_set_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    with pytest.raises(DeviceError, match="setup qemu"):
        emulated_model(tmp_path / "model.onnx", "cortex-a76")({})


@pytest.mark.parametrize("number", [4, 5])
def test_operators_are_built_for_another_processor(number: int, tmp_path: Path) -> None:
    model = with_operators(in_blocks(37, 130, "int2", 64), tmp_path, pi(number))
    elf = (model.parent / "model_ops.so").read_bytes()
    assert elf[:4] == b"\x7fELF"
    assert int.from_bytes(elf[18:20], "little") == 183  # EM_AARCH64


@pytest.mark.emulated
@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("number", [4, 5])
def test_they_agree_with_pytorch_on_the_boards_processor(number: int, tmp_path: Path) -> None:
    target = pi(number)
    cpu = compiler_of(target).emulated
    program = in_blocks(53, 300, "ternary", 128)
    run = emulated_model(with_operators(program, tmp_path, target), cpu)
    for rows in (1, 17):
        batch = {"input": torch.randn(rows, 300)}
        torch.testing.assert_close(*run(batch).values(), *program.run(batch).values(), rtol=1e-5, atol=1e-5)
    table = tied()
    assert check(table, tmp_path, run=emulated_model(with_operators(table, tmp_path, target), cpu)).error < 1e-5


@pytest.mark.emulated
@pytest.mark.usefixtures("root")
def test_a_core_that_lacks_a_feature_says_so_when_they_are_loaded(tmp_path: Path) -> None:
    model = with_operators(in_blocks(8, 32), tmp_path, pi(5))
    with pytest.raises(ExportError, match="for processors with dotprod"):
        emulated_model(model, "cortex-a72")({"input": torch.zeros(1, 32)})
