"""What of a network is tuned: its functions of loops over floats, each once, by how often a run calls it.

A task is a function with numbers for its sizes, whatever network it is in: its key is the structure of its loops, with
the names of their blocks, so that what was found for one network serves the next. Kernels of our own
(`export/kernels/`) hold their own schedules and are none; neither is what computes with integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from compressor.export.kernels.module import is_kernel
from compressor.export.tuning.sizes import buffers, calls, known_sizes, settled

__all__ = ["Task", "functions", "is_tunable", "key_of", "task_of", "tasks_of"]

_KEPT = ("s_tir", "tirx.noalias")  # attributes that say what a function means; others, what was done with it
_SCHEDULED = "tirx.is_scheduled"


@dataclass(frozen=True)
class Task:
    """A function to tune; `weight` is how often one run of the network calls it."""

    name: str
    key: str
    function: Any
    weight: int = 1

    @property
    def module(self) -> Any:
        """The function as TVM's schedules take it."""
        return tvm.IRModule({"main": self.function})


def tasks_of(module: Any, shapes: Sequence[Sequence[int]]) -> list[Task]:
    """The tasks of a module whose operators have become loops, where its main has inputs of these shapes."""
    found: dict[str, Task] = {}
    called = calls(module, shapes)
    for name, function in functions(module).items():
        for sizes, times in called.get(name, {}).items():
            task = task_of(name, settled(function, sizes)) if is_tunable(function) else None
            if task is not None:
                earlier = found.get(task.key)
                weight = times + (earlier.weight if earlier else 0)
                found[task.key] = Task(earlier.name if earlier else name, task.key, task.function, weight)
    return list(found.values())


def functions(module: Any) -> Mapping[str, Any]:
    """A module's functions of loops by name, sorted."""
    items = ((str(name.name_hint), each) for name, each in module.functions_items())
    return dict(sorted((name, each) for name, each in items if isinstance(each, tirx.PrimFunc)))


def is_tunable(function: Any) -> bool:
    """Whether it is loops over floats that nobody has scheduled."""
    attributes = dict(function.attrs or {})
    return (
        not is_kernel(function)
        and not attributes.get(_SCHEDULED, False)
        and isinstance(function.body, s_tir.SBlockRealize)
        and all(str(tensor.dtype).startswith("float") for tensor in buffers(function))
    )


def task_of(name: str, function: Any) -> Task | None:
    """The task of a function with numbers for its sizes; None where a size is none."""
    if not known_sizes(function):
        return None
    for attribute in dict(function.attrs or {}):
        if attribute not in _KEPT:
            function = function.without_attr(attribute)
    function = function.with_attr("global_symbol", "main")
    return Task(name, key_of(function), function)


def key_of(function: Any) -> str:
    """The same for functions that are the same but for the names of what is in them: blocks' names alone count, by
    which a schedule's steps find them."""
    told = f"{tvm_ffi.structural_hash(function) & (1 << 64) - 1:016x} {' '.join(_blocks(function.body))}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _blocks(statement: Any) -> Iterator[str]:
    """The blocks' names, in their order."""
    if isinstance(statement, s_tir.SBlockRealize):
        yield str(statement.block.name_hint)
        yield from _blocks(statement.block.body)
    elif isinstance(statement, tirx.SeqStmt):
        for each in statement.seq:
            yield from _blocks(each)
    elif hasattr(statement, "body"):
        yield from _blocks(statement.body)
