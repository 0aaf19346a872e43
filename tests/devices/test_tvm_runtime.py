"""TVM's runtime libraries by architecture."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from compiled import needs_tvm

from compressor.devices.emulation.root import Root
from compressor.devices.tvm_runtime import package, runtime_bytes, runtime_libraries
from compressor.errors import DeviceError


def test_this_machine_s_own_are_those_installed() -> None:
    needs_tvm()
    libraries = runtime_libraries(platform.machine())
    assert [path.name for path in libraries] == ["libtvm_runtime.so", "libtvm_ffi.so"]
    assert runtime_bytes(platform.machine()) == sum(path.stat().st_size for path in libraries) > 10**6


def test_arm_s_come_with_emulation_and_are_unknown_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("its own are installed")
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    assert (runtime_libraries("aarch64"), runtime_bytes("aarch64")) == ((), None)
    Root(tmp_path, "python3.11", {}, ("cortex-a76",)).save()
    assert runtime_libraries("aarch64") == (), "it was set up without TVM"
    for name in ("tvm/libtvm_runtime.so", "tvm/tvm_ffi/lib/libtvm_ffi.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    assert runtime_bytes("aarch64") == 10
    assert runtime_libraries("riscv64") == ()


def test_a_missing_package_is_told_with_the_extra() -> None:
    with pytest.raises(DeviceError, match=r"needs no_such_package here\n.*edge-compressor\[tvm\]"):
        package("no_such_package")
