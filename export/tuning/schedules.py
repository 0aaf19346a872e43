"""Schedules that tuning has found, put into a network's functions; the others keep the default ones.

A schedule is the trace of its steps (split, reorder, vectorize, …) as TVM writes it, and is replayed on the textbook
loops of the function it was found for. It is kept under the function's key (`tasks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import tirx
from tvm.ir.transform import Sequential
from tvm.s_tir import Schedule, Trace

from compressor.export.tuning.sizes import Sizes, calls, known_sizes, settled, with_case
from compressor.export.tuning.tasks import functions, is_tunable, task_of

__all__ = ["Schedules", "by_default", "replayed", "scheduled", "trace_of"]


@dataclass(frozen=True)
class Schedules:
    """Traces by the keys of tasks, for a network whose inputs have these shapes where its sizes are not fixed."""

    traces: Mapping[str, Any] = field(default_factory=dict)
    shapes: Sequence[Sequence[int]] = ()


def by_default(passes: Sequence[Any]) -> Callable[[Any], Any]:
    """What gives a function with numbers for its sizes the schedule that these passes make."""

    def run(function: Any) -> Any:
        return Sequential(list(passes))(tvm.IRModule({"main": function}))["main"]

    return run


def trace_of(schedule: Any) -> Any:
    """The steps of a schedule, as JSON can hold them."""
    return _plain(schedule.trace.as_json())


def replayed(function: Any, trace: Any) -> Any:
    """The function after the trace's steps. Raises ValueError where they do not fit it."""
    schedule = Schedule(tvm.IRModule({"main": function}))
    try:
        Trace.apply_json_to_schedule(trace, schedule)
        return schedule.mod["main"]
    except Exception as error:  # steps of another function, or no steps: TVM raises what it likes
        raise ValueError(f"the schedule does not fit: {str(error).strip().splitlines()[-1:]}") from error


def scheduled(found: Schedules, default: Sequence[Any]) -> Any:
    """A pass over a module whose operators have become loops: what was found where there is something, else the
    `default` passes."""

    def run(module: Any, _: Any) -> Any:
        textbook, called = functions(module), calls(module, found.shapes)
        module = Sequential(list(default))(module)
        for name, function in textbook.items():
            if is_tunable(function):
                variable = module.get_global_var(name)
                module.update_func(variable, _with_found(function, module[variable], found, called.get(name, {})))
        return module

    return tvm.transform.module_pass(run, opt_level=0)


def _with_found(textbook: Any, default: Any, found: Schedules, sizes: Mapping[Sizes, int]) -> Any:
    """The default schedule, with what was found at each of the sizes where there is something."""
    for each in sizes:
        task = task_of("", settled(textbook, each))
        if task is None or task.key not in found.traces:
            continue
        tuned = replayed(task.function, found.traces[task.key])
        if known_sizes(textbook):
            return tirx.PrimFunc(tuned.params, tuned.body, attrs=default.attrs)
        default = with_case(default, each, tuned)
    return default


def _plain(value: Any) -> Any:
    """TVM's lists and numbers as Python's."""
    if isinstance(value, tirx.IntImm | tirx.FloatImm):
        return value.value
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value) if isinstance(value, str) else [_plain(each) for each in value]
