"""Kernels for Arm run on an emulated core: compiled here, linked to a small program in C, and started by qemu.

    arrays ──▶ files ──▶ program, kernel(pointers) ──▶ the last array's file ──▶ numbers

Nothing of TVM is needed on the other side. The kernel's call lies between the marks of `emulation/count.c`, so that a
qemu with that plugin counts its instructions.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_runs import tvm
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize

from compressor.devices.emulation.root import Root
from compressor.devices.runner.counting import COUNTS, MARK
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.objects import write_object

__all__ = ["CORES", "counted", "emulated"]

CORES: Mapping[str, tuple[str, str]] = {  # by instruction set: what LLVM compiles for, and what qemu emulates
    "neon-i8mm": ("neoverse-n2", "max"), "neon-dotprod": ("cortex-a76", "cortex-a76"),
    "neon": ("cortex-a72", "cortex-a72"), "neon-bytes": ("cortex-a72", "cortex-a72"),
}  # fmt: skip

_COMPILER, _QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
_TIMEOUT = 300.0  # seconds
_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void kernel(%(types)s);

void *TVMBackendAllocWorkspace(int kind, int id, uint64_t size, int code, int bits) {
    (void)kind, (void)id, (void)code, (void)bits;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

int TVMBackendFreeWorkspace(int kind, int id, void *data) {
    (void)kind, (void)id;
    free(data);
    return 0;
}

int main(int count, char **paths) {
    void *data[%(arrays)d];
    long sizes[%(arrays)d];
    for (int i = 1; i < count; ++i) {
        FILE *file = fopen(paths[i], "rb");
        fseek(file, 0, SEEK_END);
        sizes[i - 1] = ftell(file);
        rewind(file);
        data[i - 1] = malloc(sizes[i - 1]);
        if (fread(data[i - 1], 1, sizes[i - 1], file) != (size_t)sizes[i - 1]) return 1;
        fclose(file);
    }
    syscall(%(mark)d, 1);
    kernel(%(given)s);
    syscall(%(mark)d, 0);
    FILE *made = fopen(paths[count - 1], "wb");
    if (fwrite(data[count - 2], 1, sizes[count - 2], made) != (size_t)sizes[count - 2]) return 1;
    return fclose(made);
}
"""


def emulated(isa: Isa, function: Any, arrays: Sequence[np.ndarray], folder: Path) -> np.ndarray:
    """The last of the arrays as the kernel leaves it, on a core that has the instruction set.

    Skips where there is no emulator.
    """
    if shutil.which(_QEMU) is None:
        pytest.skip("needs qemu-user-static")
    paths = _written(arrays, folder)
    program = [str(_linked(isa, function, folder)), *map(str, paths)]
    subprocess.run([_QEMU, "-cpu", CORES[isa.name][1], *program], check=True, timeout=_TIMEOUT)
    return np.frombuffer(paths[-1].read_bytes(), arrays[-1].dtype).reshape(arrays[-1].shape)


def counted(isa: Isa, function: Any, arrays: Sequence[np.ndarray], folder: Path, root: Root) -> int:
    """Instructions that the kernel takes there."""
    program = [str(_linked(isa, function, folder)), *map(str, _written(arrays, folder))]
    counts = folder / "counts"
    argv = root.argv(CORES[isa.name][1], program, counting=True) or []
    subprocess.run(argv, check=True, env=root.environment({COUNTS: str(counts)}), timeout=_TIMEOUT)
    return int(counts.read_text(encoding="ascii"))


def _written(arrays: Sequence[np.ndarray], folder: Path) -> list[Path]:
    paths = [folder / f"{index}.bin" for index in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        path.write_bytes(np.ascontiguousarray(array).tobytes())
    return paths


def _linked(isa: Isa, function: Any, folder: Path) -> Path:
    """A program for a kernel of known sizes. Skips where there is no compiler."""
    if shutil.which(_COMPILER) is None:
        pytest.skip("needs g++-aarch64-linux-gnu")
    target = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": CORES[isa.name][0]}
    write_object({"kernel": _of_pointers(function)}, target, folder / "kernel.o")
    count = len(function.params)
    text = _MAIN % {
        "types": ", ".join(["void *"] * count), "arrays": count, "mark": MARK,
        "given": ", ".join(f"data[{index}]" for index in range(count)),
    }  # fmt: skip
    (folder / "main.c").write_text(text, encoding="ascii")
    program = folder / "program"
    command = [_COMPILER, "-O1", "-static", "-o", str(program), str(folder / "main.c"), str(folder / "kernel.o"), "-lm"]
    subprocess.run(command, check=True)
    return program


def _of_pointers(function: Any) -> Any:
    """The same kernel, called with the addresses of its arguments."""
    block = function.body.block
    given = [tirx.Var(buffer.name, tvm.ir.PointerType(tvm.ir.PrimType(buffer.dtype))) for buffer in function.params]
    declared = [tirx.DeclBuffer(buffer, data=data) for buffer, data in zip(function.params, given, strict=True)]
    body = SBlock([], [], [], "root", tirx.SeqStmt([*declared, block.body]))
    made = tirx.PrimFunc(given, SBlockRealize([], True, body))
    return made.with_attrs({"global_symbol": "kernel", "tirx.noalias": True, "s_tir": function.attrs["s_tir"]})
