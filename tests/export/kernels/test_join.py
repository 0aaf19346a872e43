"""Tensors are copied behind each other, of any known and unknown sizes."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import compiled, tvm

from compressor.export.kernels.join import Join, join

SHAPES = [((2, 3, 5, 8), (2, 3, 1, 8)), ((4, 2), (4, 7), (4, 1)), ((3,), (5,))]


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shapes", SHAPES)
def test_parts_are_behind_each_other(shapes: tuple[tuple[int, ...], ...], known: bool, dtype: str) -> None:
    axis = {4: 2, 2: 1, 1: 0}[len(shapes[0])]
    fixed = {3} if known else set()
    spec = Join(
        tuple(tuple(size if known or i in fixed else None for i, size in enumerate(shape)) for shape in shapes),
        axis, dtype,
    )  # fmt: skip
    parts = [np.random.default_rng(i).integers(0, 99, shape).astype(dtype) for i, shape in enumerate(shapes)]
    wanted = np.concatenate(parts, axis)
    made = tvm.runtime.tensor(np.zeros_like(wanted))
    compiled({"join": join(spec)})["join"](*map(tvm.runtime.tensor, parts), made)
    assert np.array_equal(made.numpy(), wanted)


def test_an_empty_part_adds_nothing() -> None:
    spec = Join(((None, 4), (None, 4)), 0, "float32")
    x, made = np.ones((3, 4), np.float32), tvm.runtime.tensor(np.zeros((3, 4), np.float32))
    parts = tvm.runtime.tensor(np.zeros((0, 4), np.float32)), tvm.runtime.tensor(x)
    compiled({"join": join(spec)})["join"](*parts, made)
    assert np.array_equal(made.numpy(), x)
