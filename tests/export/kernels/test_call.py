"""What a kernel is called with: tensors, or in C numbers and pointers, and a share of its units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_runs import compiled, tvm
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.call import Call, kernel


def doubled(rows: int | None, *, in_c: bool = False, by_row: bool = False) -> Any:
    """y (M, 4) = 2 · x, a row a unit."""

    def emit(call: Call) -> None:
        x, y = call.buffers["x"], call.buffers["y"]

        def one(row: Any) -> None:
            with T.serial(0, 4) as k:
                T.buffer_store(y, x[row, k] * T.float32(2), [row, k])

        if by_row:
            call.each_row(one)
        else:
            with call.units(call.rows, parallel=True) as row:
                one(row)

    shapes = lambda m: [("x", (m, 4), "float32"), ("y", (m, 4), "float32")]  # noqa: E731  short
    return kernel("doubled", rows, shapes, emit, in_c=in_c)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("rows", [None, 9])
def test_with_tensors_all_units_are_done(rows: int | None, by_row: bool) -> None:
    x = np.arange(36, dtype=np.float32).reshape(9, 4)
    y = tvm.runtime.tensor(np.zeros((9, 4), np.float32))
    compiled({"doubled": doubled(rows, by_row=by_row)})["doubled"](tvm.runtime.tensor(x), y)
    assert np.array_equal(np.array(y.numpy()), 2 * x)


@pytest.mark.parametrize("by_row", [True, False])
def test_in_c_it_takes_numbers_and_pointers(by_row: bool) -> None:
    function = doubled(9, in_c=True, by_row=by_row)
    assert [str(each.name) for each in function.params] == ["rows", "first", "last", "x", "y"]
    text = str(function)
    assert "T.parallel" not in text
    assert "(last - first)" in text
    assert "T.parallel" in str(doubled(9, by_row=by_row))
