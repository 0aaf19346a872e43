"""Kernels in ONNX Runtime: the numbers of PyTorch, and to the last bit those of TVM's artifact, for any rows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from boards import board
from compiled import needs_tvm, tvm_target
from own_operators import in_blocks, ran, tied, with_operators, x86_64

from compressor.api import compress
from compressor.errors import ExportError
from compressor.export.custom_op import library
from compressor.export.custom_op.library import check_tools, packed_for, write_library
from compressor.export.onnx import to_onnx
from compressor.export.session import OPERATORS, operators_of, runner, session
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import TVMSession
from compressor.graph.program import Program
from compressor.targets import load_target
from compressor.targets.target import Compiler

ROWS = (1, 3, 17, 128)
SHAPES = [  # outputs, inputs, format, block, bias: ends within registers, tiles and blocks
    (5, 130, "ternary", 128, True),
    (130, 37, "int2", 64, False),
    (53, 160, "int4", 32, True),
    (96, 256, "ternary", 32, False),
]


@pytest.fixture(autouse=True)
def _compilers() -> None:
    needs_tvm()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    """Enough work to be shared among threads."""
    needs_tvm()
    program = in_blocks(600, 2048)
    return program, with_operators(program, tmp_path_factory.mktemp("wide"))


@pytest.mark.parametrize(("outputs", "inputs", "format", "block", "bias"), SHAPES)
def test_numbers_are_those_of_pytorch_and_to_the_last_bit_those_of_tvm(
    outputs: int, inputs: int, format: str, block: int, bias: bool, tmp_path: Path
) -> None:
    program = in_blocks(outputs, inputs, format, block, bias=bias)
    run = ran(with_operators(program, tmp_path))
    to_tvm(program, tvm_target(), tmp_path / "model.so")
    compiled = TVMSession(tmp_path / "model.so")
    for rows in ROWS:
        batch = {"input": torch.randn(rows, inputs) * torch.rand(rows, 1)}
        [found], [wanted] = run(batch).values(), program.run(batch).values()
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(found, *compiled.run(list(batch.values()))), rows


def test_numbers_are_those_of_the_portable_kernels_but_for_the_order_of_sums(tmp_path: Path) -> None:
    program = in_blocks(64, 512)
    own = ran(with_operators(program, tmp_path))
    path = tmp_path / "portable.onnx"
    to_onnx(program, x86_64()).save(path)
    batch = {"input": torch.randn(9, 512)}
    torch.testing.assert_close(*own(batch).values(), *runner(path, 1)(batch).values(), rtol=1e-5, atol=1e-5)


def test_threads_are_the_sessions_and_change_no_number(wide: tuple[Program, Path]) -> None:
    program, model = wide
    batch = {"input": torch.randn(40, 2048)}
    [one], [three] = (ran(model, threads)(batch).values() for threads in (1, 3))
    assert torch.equal(one, three)
    torch.testing.assert_close(one, *program.run(batch).values(), rtol=1e-4, atol=1e-4)
    loaded = session(model, 2, operators=operators_of(model))
    before = len(list(Path("/proc/self/task").iterdir()))
    loaded.run(None, {"input": batch["input"].numpy()})
    assert len(list(Path("/proc/self/task").iterdir())) == before


def test_memory_of_any_alignment_and_no_rows_at_all(wide: tuple[Program, Path]) -> None:
    _, model = wide
    loaded = session(model, 1, operators=operators_of(model))
    whole = np.random.default_rng(0).standard_normal(3 * 2048 + 1).astype(np.float32)
    off, on = whole[1:].reshape(3, 2048), whole[1:].reshape(3, 2048).copy()
    assert np.array_equal(*(loaded.run(None, {"input": x})[0] for x in (off, on)))
    assert loaded.run(None, {"input": np.zeros((0, 2048), np.float32)})[0].shape == (0, 600)


def test_a_table_that_a_product_reads_lies_in_the_model_once(tmp_path: Path) -> None:
    program = tied()
    model = with_operators(program, tmp_path)
    [ids] = program.example
    found = ran(model)({"ids": ids})
    torch.testing.assert_close(*found.values(), *program.run().values(), rtol=1e-5, atol=1e-5)
    stored = [tensor for tensor in onnx.load(model).graph.initializer if tensor.data_type == onnx.TensorProto.UINT8]
    assert [len(tensor.raw_data) for tensor in stored] == [72 * 64 // 2]  # 70 outputs, in registers of 8


def test_the_library_exports_one_function_and_needs_the_c_library_alone(wide: tuple[Program, Path]) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf")
    _, model = wide
    library = str(operators_of(model))
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert [line.split("[")[1][:6] for line in needed.splitlines() if "NEEDED" in line] == ["libc.s"]
    symbols = subprocess.run(
        ["readelf", "-W", "--dyn-syms", library], capture_output=True, text=True, check=True
    ).stdout
    defined = [line.split()[-1] for line in symbols.splitlines() if " GLOBAL " in line and " UND " not in line]
    assert defined == ["RegisterCustomOps"]
    content = Path(library).read_bytes()
    assert b"/site-packages/" not in content
    assert str(Path.home()).encode() not in content or str(Path.home()) == "/"


def test_another_models_library_is_refused_when_the_model_is_loaded(wide: tuple[Program, Path], tmp_path: Path) -> None:
    other = with_operators(in_blocks(8, 32), tmp_path)
    with pytest.raises(ExportError, match="no kernel for these weights"):
        session(other, operators=operators_of(wide[1]))
    with pytest.raises(ExportError, match="cannot load it"):
        session(other)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda graph: graph.initializer[0].ClearField("raw_data"), "size"),
        (lambda graph: graph.input.append(_as_input(graph)), "not stored"),
    ],
)
def test_weights_that_are_not_what_the_node_says(change, told: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = with_operators(in_blocks(8, 32), tmp_path)
    proto = onnx.load(model)
    codes = next(each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.UINT8)
    proto.graph.initializer.remove(codes)
    proto.graph.initializer.insert(0, codes)
    change(proto.graph)
    if not proto.graph.initializer[0].raw_data:
        proto.graph.initializer[0].raw_data, proto.graph.initializer[0].dims[0] = b"123", 3
    onnx.save(proto, model)
    with pytest.raises(ExportError, match=told):
        session(model, operators=operators_of(model))


def _as_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    tensor = graph.initializer[0]
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def test_a_runtime_that_is_too_old_is_told(wide: tuple[Program, Path]) -> None:
    said = []
    status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(lambda code, text: said.append(text) or 8)
    table = (ctypes.c_void_p * 279)(ctypes.cast(status, ctypes.c_void_p))
    get = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(lambda version: ctypes.addressof(table) * (version == 1))
    base = (ctypes.c_void_p * 2)(ctypes.cast(get, ctypes.c_void_p))
    register = ctypes.CDLL(str(operators_of(wide[1]))).RegisterCustomOps
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]
    assert register(None, ctypes.addressof(base)) == 8
    assert said == [b"this library of operators needs ONNX Runtime 1.18 or newer"]


def test_code_for_this_machine_and_for_any_board_of_its_kind_agree(wide: tuple[Program, Path], tmp_path: Path) -> None:
    program, model = wide
    own = with_operators(program, tmp_path, load_target("host"))
    batch = {"input": torch.randn(5, 2048)}
    torch.testing.assert_close(*ran(own)(batch).values(), *ran(model)(batch).values(), rtol=1e-5, atol=1e-5)


def test_nothing_that_computes_in_integers_is_no_library() -> None:
    program = in_blocks(8, 32, integer=False)
    assert packed_for(program, x86_64()) is program


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = packed_for(in_blocks(8, 32), x86_64())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match=r"no C\+\+ compiler"):
        write_library(program, x86_64(), tmp_path / OPERATORS)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    with pytest.raises(ExportError, match="cannot build"):
        write_library(program, x86_64(), tmp_path / OPERATORS)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told_before_anything_slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_tools(x86_64())
    given = {"inputs": ["1x4"], "kernels": "custom-op", "out": tmp_path / "out"}
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match=r"no C\+\+ compiler"):
        compress(torch.nn.Linear(4, 4), "x86-64", **given)
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="apache-tvm is not installed"):
        compress(torch.nn.Linear(4, 4), "x86-64", **given)


def test_a_processor_without_kernels_is_refused() -> None:
    old = replace(board(), name="test", compiler=Compiler("x86_64-linux-gnu", "x86-64", ("fp32",), "test"))
    with pytest.raises(ExportError, match="no kernels for test's processor"):
        packed_for(in_blocks(8, 32), old)
