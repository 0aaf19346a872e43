"""The runner in Python for compiled networks: in this process, and as the program that a board starts."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.devices.runner import compiled
from compressor.devices.runner.compiled import Compiled, lent, main
from compressor.devices.tvm_runtime import runtime_libraries


def test_it_computes_what_the_golden_vectors_say(tvm_bundle: Path) -> None:
    runtime = str(runtime_libraries(platform.machine())[0])
    network = Compiled(str(tvm_bundle / "model.so"), runtime, ["x"], ["output"])
    with np.load(tvm_bundle / "golden.npz") as golden:
        np.testing.assert_allclose(network(golden)["output"], golden["output"], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="1 outputs, not 2"):
        Compiled(str(tvm_bundle / "model.so"), runtime, ["x"], ["output", "more"])({"x": np.zeros((2, 1, 8, 8), "f4")})


@pytest.mark.parametrize("shape", [(2, 3, 5), (0, 3, 9, 7), (3, 0, 7), ()])
def test_what_is_lent_begins_where_registers_are_loaded_from_and_has_strides(shape: tuple[int, ...]) -> None:
    memory = np.arange(math.prod(shape) + 1, dtype="f4")
    given = memory[1:].reshape(shape)
    given.flags.writeable = False
    for view in (given, given.T):
        copy = lent(view)
        np.testing.assert_array_equal(copy, view)
        assert copy.ctypes.data % 64 == 0
        assert copy.flags.writeable
        assert copy.strides == tuple(4 * math.prod(view.shape[axis + 1 :]) for axis in range(view.ndim))


def test_an_empty_batch_gives_an_empty_result(tvm_bundle: Path) -> None:
    network = Compiled(str(tvm_bundle / "model.so"), str(runtime_libraries(platform.machine())[0]), ["x"], ["output"])
    assert network({"x": np.zeros((0, 1, 8, 8), "f4")})["output"].shape == (0, 10)


def test_it_runs_as_a_program_of_its_own_and_saves(tvm_bundle: Path, tmp_path: Path) -> None:
    script = shutil.copy(compiled.__file__, tmp_path / "compiled.py")
    told = subprocess.run([sys.executable, script, str(tvm_bundle)], capture_output=True, text=True, check=True)
    name, _, error = told.stdout.strip().partition(": relative error ")
    assert name == "output"
    assert float(error) < 1e-5
    assert main([str(tvm_bundle), "--save", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as saved:
        assert saved["output"].shape == (2, 10)


def test_a_wrong_call_and_a_missing_runtime_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == main(["a", "b", "c"]) == 2
    assert "usage" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text('{"inputs": [], "outputs": []}')
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(FileNotFoundError, match="neither in the bundle nor beside"):
        main([str(tmp_path)])


def test_bare_names_are_files_of_this_folder(tvm_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.chdir(tvm_bundle)
    runtime = os.path.relpath(runtime_libraries(platform.machine())[0])
    network = Compiled("model.so", runtime, ["x"], ["output"])
    assert network({"x": np.zeros((2, 1, 8, 8), "f4")})["output"].shape == (2, 10)


def test_a_library_for_another_processor_is_told(tvm_bundle: Path, tmp_path: Path) -> None:
    import platform

    runtime = str(runtime_libraries(platform.machine())[0])
    given = bytearray((tvm_bundle / "model.so").read_bytes())
    given[18:20] = (0xF3, 0)  # RISC-V
    other = tmp_path / "model.so"
    other.write_bytes(given)
    with pytest.raises(OSError, match=r"model\.so is for another kind of processor"):
        Compiled(str(other), runtime, ["x"], ["output"])
