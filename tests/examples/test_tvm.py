"""The application in C++ that runs a compiled network: built as its first lines say, held to the golden vectors."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compiled import needs_tvm

from compressor.devices.tvm_runtime import package, runtime_libraries

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "tvm" / "main.cpp"


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


def test_a_bare_name_is_a_file_of_this_folder(application: Path, tvm_bundle: Path) -> None:
    command = [str(application), "model.so", "2,1,8,8"]
    done = subprocess.run(command, input=bytes(2 * 64 * 4), capture_output=True, check=True, cwd=tvm_bundle)
    assert len(done.stdout) == 2 * 10 * 4


def test_the_readme_s_commands_build_and_run_it(tvm_bundle: Path, tmp_path: Path) -> None:
    needs_tvm()
    text = (SOURCE.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- (?:build|run) -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "model-host").symlink_to(tvm_bundle)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    told = subprocess.run(
        ["sh", "-ec", "\n".join(blocks)], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert float(told.stdout) < 1e-5
