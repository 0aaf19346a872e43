"""Loops over elements that only the next loop over elements reads, put into it.

    for i: t[i] = relu(x[i])     for i: y[i] = round(t[i] / s)      →      for i: y[i] = round(relu(x[i]) / s)

TVM puts operators that belong together into one function, but leaves each its loops and a buffer of its own: a change
of layout and the one that undoes it are two passes over memory, and nothing once they are one. A value is moved where
it is read once, by a loop over as many elements: a row's mean that all of the row reads would be computed for each.
"""

from __future__ import annotations

from typing import Any

__all__ = ["inlined"]


def inlined() -> Any:
    """A pass over a module's functions, to be run when operators have become loops and are fused."""
    import tvm
    from tvm import tirx

    def run(module: Any, _: Any) -> Any:
        for name, function in list(module.functions_items()):
            if isinstance(function, tirx.PrimFunc):
                module.update_func(name, _joined(function))
        return module

    return tvm.transform.module_pass(run, opt_level=0)


def _joined(function: Any) -> Any:
    import tvm
    from tvm.s_tir import Schedule, ScheduleError

    schedule = Schedule(tvm.IRModule({"main": function}))
    try:
        blocks = list(schedule.get_child_blocks(schedule.get_sblock("root")))
    except ScheduleError:  # no block of that name: not one of relax's functions
        return function
    for block in blocks:
        try:
            if _belongs(schedule, block):
                schedule.compute_inline(block)
        except ScheduleError:  # an output, or what the schedule cannot see through: stays
            continue
    return schedule.mod["main"]


def _belongs(schedule: Any, block: Any) -> bool:
    """Whether one loop over as many elements reads what this one writes."""
    consumers = list(schedule.get_consumers(block))
    if len(consumers) != 1:
        return False
    own, other = schedule.get(block), schedule.get(consumers[0])
    return _by_element(own) and _by_element(other) and _same(_elements(own), _elements(other))


def _by_element(block: Any) -> bool:
    return all(axis.iter_type == axis.DataPar for axis in block.iter_vars)


def _elements(block: Any) -> Any:
    count = 1
    for axis in block.iter_vars:
        count = count * axis.dom.extent
    return count


def _same(one: Any, other: Any) -> bool:
    from tvm import sym

    return one is other or bool(sym.Analyzer().can_prove_equal(one, other))
