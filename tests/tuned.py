"""Small functions of loops to tune, time and judge, and what code is made for on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import needs_tvm

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.graph.quiet import quiet

with quiet():
    pytest.importorskip("tvm")
    import tvm
    from tvm.s_tir import Schedule

    from compressor.devices.tuning.boards import Boards, Here
    from compressor.devices.tuning.measuring import Bench, Code
    from compressor.export.tuning.schedules import trace_of
    from compressor.export.tuning.tasks import Task, task_of
    from compressor.export.tvm_boards import compiler_of, llvm_of
    from compressor.export.tvm_linking import find_linker
from compressor.targets import load_target

__all__ = ["Summed", "batched", "bench", "code", "endless", "product", "task", "trace", "tvm", "wrong"]


class Summed(torch.nn.Module):
    """x · w + b where w is turned when it runs, which no kernel takes: loops."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)
        self.bias = torch.nn.Parameter(torch.randn(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight.T, self.bias)


def batched() -> Program:
    """Two layers of one shape and one of another, for any batch."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(Summed(8, 8), torch.nn.Tanh(), Summed(8, 8), torch.nn.Tanh(), Summed(8, 3))
    return capture(network.eval(), (torch.randn(2, 8),)).program


def product(rows: int = 8, inner: int = 32, columns: int = 16, kind: str = "float32", sums: str = "sums") -> Any:
    """y = relu(x · w): a function of TVM's."""
    from tvm import te, tirx

    x, w = te.placeholder((rows, inner), kind, name="x"), te.placeholder((inner, columns), kind, name="w")
    k = te.reduce_axis((0, inner), name="k")
    summed = te.compute((rows, columns), lambda i, j: te.sum(x[i, k] * w[k, j], axis=k), name=sums)
    y = te.compute((rows, columns), lambda i, j: tirx.max(summed[i, j], tirx.const(0, kind)), name="y")
    return te.create_prim_func([x, w, y])


def endless() -> Any:
    """A function that takes longer than anyone waits: it computes on what it has computed."""
    from tvm import te

    x, k = te.placeholder((4,), "float32", name="x"), te.reduce_axis((0, 1 << 45), name="k")
    y = te.compute((4,), lambda i: te.sum(x[(i + k) % 4] * x[(k * k) % 4], axis=k), name="y")
    return te.create_prim_func([x, y])


def task(name: str = "product", function: Any = None) -> Task:
    """The function as a task."""
    found = task_of(name, product() if function is None else function)
    assert found is not None
    return found


def code(threads: int = 1) -> Code:
    """What is made for this machine."""
    compiler = compiler_of(load_target("host"))
    return Code(llvm_of(compiler), find_linker(compiler).command, threads)


def trace(function: Any, lanes: int = 8) -> Any:
    """A schedule of `product`: its columns in vectors."""
    schedule = Schedule(tvm.IRModule({"main": function}))
    block = schedule.get_sblock("sums")
    row, column, inner = schedule.get_loops(block)
    outer, lane = schedule.split(column, [None, lanes])
    schedule.reorder(row, outer, inner, lane)
    schedule.vectorize(lane)
    return trace_of(schedule)


def wrong(function: Any) -> Any:
    """A schedule of `product` that computes something else: its sums are kept in half precision."""
    schedule = Schedule(tvm.IRModule({"main": function}))
    schedule.unsafe_set_dtype(schedule.get_sblock("sums"), 0, "float16")
    return trace_of(schedule)


def bench(folder: Path, boards: Boards | None = None, threads: int = 1) -> Bench:
    """On this machine, unless there is a board."""
    needs_tvm()
    return Bench(code(threads), boards or Here(), folder)
