"""Rows of packed matrices as floats: the codes times their scales, in every layout, for any ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_runs import HOST, compiled, here, random_given, tvm
from tvm import relax

from compressor.export.kernels.isa import NEON_DOT, NEON_I8MM
from compressor.export.kernels.table import emit_table, table_rows

each = pytest.mark.parametrize("isa", [*here(), NEON_DOT, NEON_I8MM], ids=lambda isa: isa.name)  # layouts alone


@each
@pytest.mark.parametrize(("bits", "block"), [(2, 32), (2, None), (4, 64), (4, 128), (8, None), (8, 32)])
@pytest.mark.parametrize("rows", [None, 5])
def test_rows_are_codes_times_scales(isa, bits: int, block: int | None, rows: int | None) -> None:  # type: ignore[no-untyped-def]
    given = random_given(1, (isa.lanes * isa.vectors + isa.lanes + 3, 200), bits, block)
    last = len(given.w) - 1
    ids = np.array([last, 0, isa.lanes, last - 4, 1], np.int64)
    packed = given.packed(isa)
    made = tvm.runtime.tensor(np.full((5, 200), np.nan, np.float32))
    run = compiled({"table_rows": table_rows(packed.layout, rows)})["table_rows"]
    run(*(tvm.runtime.tensor(each) for each in (ids, packed.codes.numpy(), packed.scales.numpy())), made)
    wanted = given.w.float() * given.scales.repeat_interleave(block or 200, 1)[:, :200]
    assert np.array_equal(np.array(made.numpy()), wanted[ids].numpy())


def test_ids_of_any_shape_in_a_module_and_those_that_there_are_not(tmp_path: Path) -> None:
    isa = here()[0]
    given = random_given(1, (30, 64), 4, 32)
    builder, ids = relax.BlockBuilder(), relax.Var("ids", relax.TensorType((2, 2), "int32"))
    with builder.function("main", [ids]):
        with builder.dataflow():
            y = builder.emit_output(emit_table(builder, ids, given.packed(isa)))
        builder.emit_func_output(y)
    executable = tvm.compile(builder.get(), target=tvm.target.Target(HOST))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(np.array([[3, 29], [-1, 30]], np.int32))).numpy()
    wanted = given.w.float() * given.scales.repeat_interleave(32, 1)
    assert np.array_equal(np.array(found), wanted[torch.tensor([[3, 29], [0, 29]])].numpy())
