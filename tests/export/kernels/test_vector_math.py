"""Functions of registers, held to double precision over the range of float32."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from kernel_runs import compiled, tvm
from tvm.script import tirx as T  # noqa: N812

from compressor.export.kernels.panel import body, function, splat
from compressor.export.kernels.vector_math import across, exp, fused


def _run(one, x: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A function of registers of eight, over as many as x (…) has."""
    with function("apply") as builder:
        given = T.arg("x", T.Buffer((x.size,), "float32"))
        made = T.arg("y", T.Buffer((x.size,), "float32"))
        with body(), T.serial(0, x.size // 8) as index:
            T.buffer_store(made, one(given.vload([index * 8], "float32x8")), [T.ramp(index * 8, 1, 8)])
    result = tvm.runtime.tensor(np.zeros(x.size, np.float32))
    compiled({"apply": builder.get()})["apply"](tvm.runtime.tensor(x), result)
    return np.array(result.numpy())


def test_powers_of_e() -> None:
    x = np.linspace(-86, 87, 8000, dtype=np.float32)
    wanted = np.exp(x.astype(np.float64))
    assert np.abs(_run(lambda v: exp(v, 8), x) / wanted - 1).max() < 2.5e-7


def test_far_down_it_is_next_to_nothing_and_nan_stays() -> None:
    x = np.array([-np.inf, -1000, -87, 0, 1, 88, 200, np.nan], np.float32)
    found = _run(lambda v: exp(v, 8), x)
    assert (found[:3] < 2e-38).all()
    assert (found[:3] >= 0).all()
    assert found[3] == 1
    assert np.isnan(found[7])
    assert found[6] == found[5]


@pytest.mark.parametrize(("both", "whole"), [(operator.add, np.sum), (T.max, np.max)])
def test_all_lanes_make_one(both, whole) -> None:  # type: ignore[no-untyped-def]
    x = np.array([3, -1, 4, 1, -5, 9, 2, 6], np.float32)
    assert (_run(lambda v: splat(across(v, 8, both), 8), x) == whole(x)).all()


def test_a_product_and_a_sum_are_rounded_once() -> None:
    x = np.full(8, 1 + 2**-12, np.float32)
    found = _run(lambda v: fused(v, v, splat(T.float32(-1), 8), 8), x)
    assert found[0] == np.float32(np.float64(x[0]) ** 2 - 1) != np.float32(x[0] * x[0]) - 1
