"""A board with TVM in place of its own runtime."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import pytest
from boards import board

from compressor.errors import TargetError
from compressor.targets import tvm
from compressor.targets.machine import Machine, this_machine
from compressor.targets.target import Compiler
from compressor.targets.tvm import with_runtime


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"apache-tvm": "0.27"}[name])


@pytest.fixture(autouse=True)
def modern(monkeypatch: pytest.MonkeyPatch) -> Machine:
    here = replace(this_machine(), arch="x86_64", features=frozenset({"avx2", "fma"}))
    monkeypatch.setattr(tvm, "this_machine", lambda: here)
    return here


@pytest.mark.parametrize("runtime", [None, "onnx"])
def test_the_board_keeps_its_own_runtime_unless_asked(runtime: str | None) -> None:
    assert with_runtime(board(), runtime) == board()


@pytest.mark.usefixtures("installed")
def test_tvm_takes_integers_that_have_kernels() -> None:
    target = with_runtime(board(), "tvm")
    assert (target.runtime.name, target.runtime.version) == ("tvm", "0.27")
    assert [provider.formats for provider in target.providers] == [("fp32", "int8")]
    assert (target.passes, target.passes_with_data) == ("fold", "fold,int8")
    assert (target.activations, target.rates, target.on_cpu) == ("int8", board().rates, True)
    assert [target.providers[0].runs(operator) for operator in ("MatMulNBits", "Conv")] == [True, False]
    assert (target.name, target.rate("int8")) == (board().name, board().rate("int8"))


@pytest.mark.usefixtures("installed")
def test_a_host_without_kernels_takes_float32_alone(modern: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm, "this_machine", lambda: replace(modern, features=frozenset({"sse2"})))
    target = with_runtime(board(is_host=True, compiler=None), "tvm")
    assert [provider.formats for provider in target.providers] == [("fp32",)]
    assert (target.activations, set(target.rates)) == ("", {"fp32"})
    assert not target.providers[0].runs("MatMulNBits")


@pytest.mark.usefixtures("installed")
def test_both_leaves_the_board_its_runtime_and_asks_for_a_compiler_all_the_same() -> None:
    assert with_runtime(board(), "both") == board()
    assert with_runtime(board(passes="fold,fp16"), "both") == board(passes="fold")
    with pytest.raises(TargetError, match=r"no \[compiler\]"):
        with_runtime(board(compiler=None), "both")


@pytest.mark.usefixtures("installed")
def test_a_board_that_tells_a_compiler_nothing_is_refused() -> None:
    with pytest.raises(TargetError, match=r"code for on board: its file has no \[compiler\]\n.*raspberry-pi-5"):
        with_runtime(board(compiler=None), "tvm")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("arch", "formats"), [("aarch64", ("fp32", "int8")), ("s390x", ())])
def test_a_host_of_another_architecture(
    arch: str, formats: tuple[str, ...], modern: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(modern, arch=arch, features=frozenset({"asimd"}))
    monkeypatch.setattr(tvm, "this_machine", lambda: here)
    if formats:
        assert with_runtime(board(is_host=True, compiler=None), "tvm").providers[0].formats == formats
    else:
        with pytest.raises(TargetError, match="no code for s390x"):
            with_runtime(board(is_host=True, compiler=None), "tvm")


@pytest.mark.usefixtures("installed")
def test_a_board_computes_in_the_formats_of_its_compiler() -> None:
    told = Compiler("aarch64-linux-gnu", "cortex-a72", ("fp32",), "test")
    target = with_runtime(board(compiler=told), "tvm")
    assert (target.providers[0].formats, target.activations, target.compiler) == (("fp32",), "", told)
    assert not target.providers[0].runs("MatMulNBits")


def test_a_missing_package_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(TargetError, match=r"not installed here\n.*edge-compressor\[tvm\]"):
        with_runtime(board(), "tvm")


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(TargetError, match="no runtime is called 'ncnn'"):
        with_runtime(board(), "ncnn")
