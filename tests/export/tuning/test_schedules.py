"""Schedules that were found: replayed on the loops they are of, refused by others, put in where they are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import needs_tvm, tvm_target
from tuned import batched, task, trace, tvm

from compressor.export.tuning.schedules import Schedules, by_default, replayed, scheduled, trace_of
from compressor.export.tuning.tasks import Task, functions, tasks_of
from compressor.export.tvm import default_loops, textbook, to_tvm
from compressor.export.tvm_session import tvm_runner


def vectorized(each: Task) -> Any:
    """A schedule of whatever is summed in it: the last axis in vectors."""
    schedule = tvm.s_tir.Schedule(each.module)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if schedule.get(block).name_hint.startswith("matmul"):
            rows, columns, inner = schedule.get_loops(block)
            schedule.reorder(rows, inner, columns)
            schedule.annotate(block, "found", 1)
    return trace_of(schedule)


def test_a_trace_survives_json_and_is_replayed() -> None:
    function = task().function
    steps = json.loads(json.dumps(trace(function)))
    assert "T.vectorized" in replayed(function, steps).script()
    assert "T.vectorized" not in function.script()


@pytest.mark.parametrize(
    "steps", [[], [[["GetSBlock", [], ["other", "main"], ["b0"]]], []], [[["Nonsense", [], [], []]], []], "x", 7, None]
)
def test_steps_of_something_else_do_not_fit(steps: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        replayed(task().function, steps)


def test_found_schedules_are_put_in_at_their_sizes_and_compute_the_same(tmp_path: Path) -> None:
    needs_tvm()
    program, target = batched(), tvm_target()
    tasks = tasks_of(textbook(program, target), [(1, 8)])
    found = Schedules({each.key: vectorized(each) for each in tasks}, [(1, 8)])
    with tvm.transform.PassContext(opt_level=3):
        module = scheduled(found, default_loops(target))(textbook(program, target))
    texts = [each.script() for each in functions(module).values()]
    assert sum('"found": 1' in text for text in texts) == len(tasks)
    to_tvm(program, target, tmp_path / "tuned.so", found)
    for rows in (1, 2, 5):
        batch = {program.inputs[0].name: torch.randn(rows, 8)}
        run = tvm_runner(tmp_path / "tuned.so", [program.inputs[0].name], [program.outputs[0].name])
        expected = program.run(batch)
        torch.testing.assert_close(run(batch), expected, rtol=1e-4, atol=1e-5)


def test_without_any_the_module_is_as_by_default() -> None:
    needs_tvm()
    target = tvm_target()
    plain = tvm.transform.Sequential(default_loops(target))(textbook(batched(), target))
    found = scheduled(Schedules(), default_loops(target))(textbook(batched(), target))
    assert [each.script() for each in functions(found).values()] == [
        each.script() for each in functions(plain).values()
    ]


def test_the_default_schedule_of_one_function() -> None:
    default = by_default(default_loops(tvm_target()))(task().function)
    assert "T.vectorized" in default.script()
