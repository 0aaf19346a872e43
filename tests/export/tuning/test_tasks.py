"""What of a network is tuned: loops over floats, once each, whatever they are called; no kernels, no integers."""

from __future__ import annotations

import pytest
import torch
from compiled import needs_tvm, tvm_target
from quantized import with_int8
from tuned import Summed, batched, product, task, tvm

from compressor.export.codes import in_codes
from compressor.export.kernels.module import is_kernel
from compressor.export.tuning.schedules import replayed, trace_of
from compressor.export.tuning.tasks import functions, is_tunable, key_of, task_of, tasks_of
from compressor.export.tvm import textbook
from compressor.graph.capture import capture


def test_a_network_s_tasks_by_how_often_they_run() -> None:
    needs_tvm()
    tasks = tasks_of(textbook(batched(), tvm_target()), [(1, 8)])
    assert sorted(each.weight for each in tasks) == [1, 2]
    assert len({each.key for each in tasks}) == len(tasks)
    assert all(int(size) > 0 for each in tasks for parameter in each.function.params for size in parameter.shape)
    other = tasks_of(textbook(batched(), tvm_target()), [(4, 8)])
    assert {each.key for each in tasks}.isdisjoint({each.key for each in other})


def test_the_key_is_of_the_structure_and_not_of_names() -> None:
    assert task("a").key == task("b", product().with_attr("op_pattern", 4)).key == task("c", _renamed()).key
    assert task("a").key != task("b", product(rows=9)).key


def test_a_schedule_finds_its_blocks_by_name_so_their_names_count() -> None:
    needs_tvm()
    other = product(sums="lv7_sum")
    assert task("a").key != task("b", other).key
    schedule = tvm.s_tir.Schedule(task("a").module)
    schedule.get_sblock("sums")
    with pytest.raises(ValueError, match="does not fit"):
        replayed(other, trace_of(schedule))


def test_a_network_of_another_kind_shares_the_tasks_that_are_the_same() -> None:
    needs_tvm()
    torch.manual_seed(1)
    alone = capture(torch.nn.Sequential(Summed(8, 8), torch.nn.Tanh()).eval(), (torch.randn(2, 8),)).program
    (one,) = tasks_of(textbook(alone, tvm_target()), [(1, 8)])
    assert one.key in {each.key for each in tasks_of(textbook(batched(), tvm_target()), [(1, 8)])}


def test_kernels_of_our_own_and_integers_are_no_tasks() -> None:
    needs_tvm()
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    program = capture(network.eval(), (torch.randn(2, 8),)).program
    module = textbook(in_codes(with_int8(program, "linear", "linear_1", output=False)), tvm_target())
    kernels = [name for name, each in functions(module).items() if is_kernel(each)]
    assert kernels
    assert not {each.name for each in tasks_of(module, [(1, 8)])} & set(kernels)
    assert not is_tunable(product(kind="int32"))
    assert is_tunable(product())


def test_what_has_no_numbers_for_its_sizes_is_no_task() -> None:
    needs_tvm()
    function = next(iter(functions(textbook(batched(), tvm_target())).values()))
    assert task_of("x", function) is None


def _renamed() -> object:
    from tvm.s_tir import renew_defs

    return renew_defs(product())


def test_keys_are_the_same_in_every_process() -> None:
    import subprocess
    import sys

    line = "from tuned import task; print(task().key)"
    environment = {"PYTHONPATH": "tests", "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-1] == key_of(task().function)
