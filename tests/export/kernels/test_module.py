"""What kernels' calls share: functions by structure, constants by value, numbers of rows known or not."""

from __future__ import annotations

import torch
from kernel_runs import HOST, here, tvm
from tvm import relax, tirx

from compressor.export.kernels.activations import Rounding, round_rows
from compressor.export.kernels.module import add_function, constant, count, is_kernel, known, likely, sized


def test_the_same_function_is_in_a_module_once() -> None:
    isa, builder = here()[0], relax.BlockBuilder()
    widths = [64, 64, 32]
    names = [
        add_function(builder, round_rows(Rounding(isa, isa.layout(4, width, 8), 1)), "round_rows").name_hint
        for width in widths
    ]
    assert names[0] == names[1] != names[2]
    assert len(builder.get().get_global_vars()) == 2


def test_what_was_added_is_known_for_a_kernel() -> None:
    isa, builder = here()[0], relax.BlockBuilder()
    function = round_rows(Rounding(isa, isa.layout(4, 64, 8), 1))
    assert not is_kernel(function)
    add_function(builder, function, "round_rows")
    assert is_kernel(builder.get()["round_rows"])


def test_a_constant_is_what_the_tensor_was() -> None:
    turned = torch.arange(6, dtype=torch.int32).view(2, 3).T
    value = constant(turned)
    assert value.value.numpy().tolist() == turned.tolist()
    assert constant(torch.nn.Parameter(torch.ones(2))).value.numpy().tolist() == [1, 1]


def test_rows_are_counted_where_all_sizes_are_known() -> None:
    assert known(count([tirx.IntImm("int64", 3), tirx.IntImm("int64", 4)])) == 12
    assert known(count([])) == 1
    assert known(count([tirx.Var("n", "int64"), tirx.IntImm("int64", 4)])) is None


def test_what_is_open_is_reckoned_as_one_sample() -> None:
    n, rows = tirx.Var("n", "int64"), tirx.Var("rows", "int64")
    assert likely(count([tirx.IntImm("int64", 3), tirx.IntImm("int64", 4)])) == 12
    assert likely(n * (14 * 14)) == 196
    assert likely(count([n, rows])) == likely(n) == 16


def test_a_shape_that_was_lost_is_read_when_it_runs() -> None:
    builder = relax.BlockBuilder()
    lost, plain = relax.Var("x", relax.TensorType(dtype="float32", ndim=2)), relax.Var("y", relax.TensorType((2, 3)))
    with builder.function("main", [lost, plain]):
        with builder.dataflow():
            found = sized(builder, lost, [torch.SymInt, 3])
            assert sized(builder, plain, [2, 3]) is plain
            rows, columns = found.ty.shape.values
            y = builder.emit_output(relax.op.reshape(found, (rows * columns,)))
        builder.emit_func_output(y)
    assert (known(rows), known(columns)) == (None, 3)
    machine = relax.VirtualMachine(tvm.compile(builder.get(), target=tvm.target.Target(HOST)), tvm.cpu())
    x = torch.rand(4, 3)
    given = [tvm.runtime.tensor(each.numpy()) for each in (x, torch.rand(2, 3))]
    assert machine["main"](*given).numpy().tolist() == x.flatten().tolist()
