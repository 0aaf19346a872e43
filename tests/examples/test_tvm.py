"""The application in C++ that runs a compiled network: built as its first lines say, held to the golden vectors."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiled import needs_tvm

from compressor.devices.tvm_runtime import package, runtime_libraries

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "tvm" / "main.cpp"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_tvm()
    made, libraries = tmp_path_factory.mktemp("application") / "run", runtime_libraries(platform.machine())
    command = ["g++", "-std=c++17", "-isystem", str(package("tvm_ffi") / "include"), str(SOURCE), "-o", str(made)]
    command += ["-Wl,--no-as-needed", *map(str, libraries)]
    command += [f"-Wl,-rpath,{library.parent}" for library in libraries]
    subprocess.run(command, check=True)
    return made


def test_it_computes_what_the_golden_vectors_say(application: Path, tvm_bundle: Path) -> None:
    with np.load(tvm_bundle / "golden.npz") as golden:
        x, wanted = golden["x"], golden["output"]
    shape = ",".join(map(str, x.shape))
    command = [str(application), str(tvm_bundle / "model.so"), shape]
    done = subprocess.run(command, input=x.tobytes(), capture_output=True, check=True)
    np.testing.assert_allclose(np.frombuffer(done.stdout, np.float32).reshape(wanted.shape), wanted, atol=1e-5)


def test_what_is_missing_is_told(application: Path, tvm_bundle: Path) -> None:
    done = subprocess.run([str(application)], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage" in done.stderr) == (1, True)
    command = [str(application), str(tvm_bundle / "model.so"), "2,1,8,8"]
    done = subprocess.run(command, input="few", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "stdin holds less than that shape\n")
