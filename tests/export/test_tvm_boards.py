"""What boards are to LLVM: their files name processors that it knows, with the instructions that kernels need."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from compiled import needs_tvm

from compressor.export.tvm_boards import (
    compiler_of,
    features_of,
    is_foreign,
    is_from_wheels,
    lacking_here,
    llvm_of,
    this_processor,
)
from compressor.targets import HOST, load_target, target_names
from compressor.targets.target import Compiler

BOARDS = [name for name in target_names() if name != HOST and load_target(name).compiler is not None]
PI = "aarch64-linux-gnu"


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_computes_int8_where_its_processor_has_kernels(name: str) -> None:
    from compressor.export.kernels.isa import best_isa

    compiler = compiler_of(load_target(name))
    kernels = best_isa(features_of(compiler))
    assert ("int8" in compiler.formats) == (kernels is not None and not compiler.cuda)


@pytest.mark.parametrize(
    ("cpu", "isa"),
    [("cortex-a72", "neon"), ("cortex-a76", "neon-dotprod"), ("cortex-a78ae", "neon-dotprod"),
     ("cortex-x1", "neon-dotprod"), ("carmel", "neon"), ("neoverse-n2", "neon-i8mm"), ("cortex-a710", "neon-i8mm")],
)  # fmt: skip
def test_arms_kernels_follow_from_the_processor(cpu: str, isa: str) -> None:
    from compressor.export.kernels.isa import best_isa

    found = best_isa(features_of(Compiler(PI, cpu, ("fp32",), "test")))
    assert found is not None
    assert found.name == isa


def test_features_are_added_and_sums_may_be_in_another_order() -> None:
    compiler = Compiler(PI, "cortex-a72", ("fp32",), "test", features=("+dotprod",))
    assert {"dotprod"} == features_of(compiler) - features_of(replace(compiler, features=()))
    assert llvm_of(compiler)["fast-math-reassoc"]
    assert "fast-math-nnan" not in llvm_of(compiler), "masks are made of infinities"


def test_the_host_is_this_processor_and_a_board_that_tells_nothing_too() -> None:
    host = compiler_of(load_target("host"))
    assert host.cpu not in ("", "x86-64-v3")
    assert compiler_of(board(compiler=None)) == host
    assert compiler_of(board(is_host=True)) == host
    assert (is_foreign(host), lacking_here(host)) == (False, "")
    assert is_from_wheels(host)
    assert not is_from_wheels(replace(host, cuda="sm_87"))
    assert compiler_of(board()).cpu == "x86-64-v3"


@pytest.mark.parametrize("triple", [PI, "x86_64-linux-android", "riscv64-linux-gnu", "wasm32-unknown-unknown"])
def test_another_architecture_or_system_is_foreign(triple: str) -> None:
    compiler = Compiler(triple, "generic", ("fp32",), "test")
    assert is_foreign(compiler)
    assert triple in lacking_here(compiler)
    assert is_from_wheels(compiler) == triple.endswith("gnu")


def test_what_the_processor_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.export import tvm_boards

    newest = Compiler("x86_64-linux-gnu", "x86-64-v4", ("fp32",), "test")
    monkeypatch.setattr(tvm_boards, "this_processor", lambda: Compiler("", "x86-64-v3", (), "test"))
    assert lacking_here(newest) == "this processor has no avx512bw, avx512cd, avx512dq"
    assert lacking_here(replace(newest, cpu="x86-64-v2")) == ""


def test_instructions_that_a_hypervisor_hides_are_not_this_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    import tvm

    asked = tvm.get_global_func
    answers = {
        "target.llvm_get_system_cpu": lambda: "znver4",
        "tvm.codegen.llvm.GetHostCPUFeatures": lambda: {"avx2": True, "avx512f": False, "avx512vnni": False},
    }
    monkeypatch.setattr(tvm, "get_global_func", lambda name: answers.get(name) or asked(name))
    found = this_processor()
    assert (found.cpu, found.features) == ("znver4", ("-avx512f", "-avx512vnni"))
    assert "avx2" in features_of(found)
    assert not any(name.startswith("avx512") for name in features_of(found)), "what needs hidden ones is gone, too"
