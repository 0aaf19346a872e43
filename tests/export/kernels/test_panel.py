"""Registers that TVM leaves on the stack, where LLVM finds them."""

from __future__ import annotations

from typing import Any

import pytest
from kernel_runs import assembly
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import function, registers, splat

TARGET = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "icelake-server"}


def _sum_of(count: int) -> Any:
    with function("it") as builder:
        x, y = (T.arg(name, T.Buffer((16 * count,), "int32")) for name in "xy")
        sums = registers(count, "int32", 16)
        for index in range(count):
            sums[index] = splat(T.int32(0), 16)
        with T.serial(0, 9):
            for index in range(count):
                sums[index] = sums[index] * x.vload([16 * index], "int32x16") + splat(T.int32(1), 16)
        for index in range(count):
            T.buffer_store(y, sums[index], [T.ramp(16 * index, 1, 16)])
    return builder.get()


@pytest.mark.parametrize("count", [1, 24])
def test_registers_are_never_allocated(count: int) -> None:
    code = assembly(_sum_of(count), TARGET)
    assert "TVMBackendAllocWorkspace" not in code
