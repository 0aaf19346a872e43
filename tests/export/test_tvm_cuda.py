"""Kernels for GPUs: cubins in the source's place where nvcc is here, else source that the board compiles.

Nothing here runs them; where they lie in the library is compared byte by byte.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from compiled import needs_tvm
from own_device import program as script

from compressor.errors import ExportError
from compressor.export import tvm_cuda
from compressor.export.tvm import to_tvm
from compressor.export.tvm_cuda import SOURCE, Kernels, cuda_of
from compressor.export.tvm_linking import find_linker
from compressor.graph.program import Program
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime

CUBIN = b"\x7fELF of a GPU" * 100


def counted(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def test_a_cubin_takes_the_source_s_place_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_cuda, "_compiled", lambda source, arch: CUBIN)
    kernels = Kernels("sm_87")
    stored = kernels.take("__global__ void k() {}").encode()
    assert len(stored) > len(CUBIN)
    functions, rest = counted(b"k") + b"\x01\x02", b"what follows"
    before = b"kind" + counted(b"cuda") + b"more"
    file = tmp_path / "devc.o"
    file.write_bytes(before + counted(b"cuda") + functions + counted(stored) + rest)
    size = file.stat().st_size
    assert kernels.finish([file], tmp_path / "model.so") == ()
    data = file.read_bytes()
    assert len(data) == size
    assert data.startswith(before + counted(b"cubin") + functions + counted(CUBIN) + b"\0")
    assert data.endswith(rest)
    with pytest.raises(ExportError, match="otherwise than this version knows"):
        kernels.finish([file], tmp_path / "model.so")


def test_nvcc_makes_a_cubin_where_it_is_here() -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    kernels = Kernels("sm_87")
    source = kernels.take('extern "C" __global__ void k(float* x) { x[0] = 1; }')
    assert kernels.binaries[source].startswith(b"\x7fELF")
    assert len(source) > len(kernels.binaries[source])


def test_without_nvcc_or_with_one_that_does_not_know_the_gpu_the_source_lies_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (None, str(script(tmp_path / "bin", "nvcc", "exit 1") / "nvcc")):
        monkeypatch.setattr(shutil, "which", lambda name, place=place: place)
        kernels = Kernels("sm_72")
        assert kernels.take("source") == "source"
        [beside] = kernels.finish([], tmp_path / "model.so")
        assert (beside.name, beside.read_text()) == (SOURCE, "source")


@pytest.mark.parametrize(("board", "arch"), [("jetson-orin-nano", "sm_87"), ("jetson-xavier-nx", "sm_72")])
def test_a_network_compiles_for_jetsons_with_an_arm_host(
    board: str, arch: str, conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_tvm()
    target = with_runtime(load_target(board), "tvm")
    assert target.compiler is not None
    assert cuda_of(target.compiler)["arch"] == arch
    assert [(each.name, each.formats) for each in target.providers] == [("TVM-CUDA", ("fp32",))]
    assert not target.on_cpu
    monkeypatch.setattr(tvm_cuda, "_compiled", lambda source, arch: CUBIN if arch == "sm_87" else None)
    files = to_tvm(conv_program, target, tmp_path / "model.so")
    linked = bool(find_linker(target.compiler).command)
    names = ["model.so"] if linked else ["model-0.o", "model-1.o", "build-model.sh"]
    assert [file.name for file in files] == names + [SOURCE] * (arch == "sm_72")
    data = b"".join(file.read_bytes() for file in files if file.suffix in (".so", ".o"))
    assert (counted(b"cubin") in data, counted(CUBIN) in data) == (arch == "sm_87",) * 2
    assert (b"__global__" in data) == (arch == "sm_72")
    if arch == "sm_72":
        assert "__global__" in (tmp_path / SOURCE).read_text()


def test_a_copy_without_the_gpu_is_compiled_for_its_processor(conv_program: Program, tmp_path: Path) -> None:
    needs_tvm()
    board = load_target("jetson-orin-nano")
    assert board.compiler is not None
    target = with_runtime(replace(board, compiler=replace(board.compiler, cuda="", formats=("fp32", "int8"))), "tvm")
    files = to_tvm(conv_program, target, tmp_path / "model.so")
    assert SOURCE not in {file.name for file in files}
    assert target.providers[0].name == "TVM-CPU"
