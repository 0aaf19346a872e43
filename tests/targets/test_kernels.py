"""Where kernels of our own can be had, and why not elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from compiled import needs_tvm

from compressor.errors import TargetError
from compressor.targets import load_target, target_names
from compressor.targets.kernels import CUSTOM_OP, KERNELS, check_kernels
from compressor.targets.target import Runtime
from compressor.targets.tvm import with_runtime


def test_portable_kernels_run_on_every_board() -> None:
    for name in target_names():
        for kernels in (None, KERNELS[0]):
            check_kernels(load_target(name), kernels)


def test_what_is_no_name_of_kernels() -> None:
    with pytest.raises(TargetError, match="'fast'"):
        check_kernels(load_target("x86-64"), "fast")


@pytest.mark.parametrize("name", ["host", "x86-64", "raspberry-pi-4", "raspberry-pi-5"])
def test_processors_of_this_kind_have_them(name: str) -> None:
    needs_tvm()
    check_kernels(load_target(name), CUSTOM_OP)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("web-wasm", "wasm32"), ("android-arm64", "aarch64-linux-android"),
        ("jetson-orin-nano", "TensorrtExecutionProvider"), ("iphone", "CoreMLExecutionProvider"),
    ],
)  # fmt: skip
def test_other_boards_are_refused_with_the_reason(name: str, told: str) -> None:
    with pytest.raises(TargetError, match=told) as caught:
        check_kernels(load_target(name), CUSTOM_OP)
    assert "--kernels custom-op" in str(caught.value)


def test_beside_tvm_and_in_an_old_runtime_they_are_refused() -> None:
    needs_tvm()
    with pytest.raises(TargetError, match="--runtime tvm has these kernels already"):
        check_kernels(with_runtime(load_target("x86-64"), "tvm"), CUSTOM_OP)
    old = replace(load_target("x86-64"), runtime=Runtime("onnxruntime", "1.17.3", 20, "test"))
    with pytest.raises(TargetError, match=r"1\.17\.3 is older than 1\.18"):
        check_kernels(old, CUSTOM_OP)


def test_a_processor_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.targets import kernels

    here = replace(kernels.this_machine(), features=frozenset({"sse2"}), cpu="old")
    monkeypatch.setattr(kernels, "this_machine", lambda: here)
    with pytest.raises(TargetError, match=r"no kernels for this processor \(old\)"):
        check_kernels(board(is_host=True), CUSTOM_OP)
    monkeypatch.setattr(kernels.sys, "platform", "darwin")
    with pytest.raises(TargetError, match="on Linux so far"):
        check_kernels(board(is_host=True), CUSTOM_OP)
