"""What follows a product: residuals, bounds and codes, for whole registers and for the pieces at the end."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import compiled, tvm
from tvm.script import tirx as T  # noqa: N812

from compressor.export.kernels.epilogue import PLAIN, Ending, Epilogue, Step, pieces
from compressor.export.kernels.panel import body, function

VALUES = np.linspace(-9, 9, 26, dtype=np.float32).reshape(2, 13)


def stored(ending: Ending, residual: np.ndarray | None = None) -> np.ndarray:
    """VALUES, a register of eight and a part of one a row, as the epilogue stores them."""
    with function("end") as builder:
        x = T.arg("x", T.Buffer((2, 16), "float32"))
        r = T.arg("r", T.Buffer((2, 13), "float32")) if residual is not None else None
        end = Epilogue(ending, T.arg("y", T.Buffer((2, 13), ending.kind)), r)
        with body():
            for row in range(2):
                end.store(x.vload([row, 0], "float32x8"), row, 0, 8)
                end.store_part(x.vload([row, 8], "float32x8"), row, 8, 5)
    made = tvm.runtime.tensor(np.zeros((2, 13), ending.kind))
    given = [np.pad(VALUES, ((0, 0), (0, 3))), *([] if residual is None else [residual])]
    compiled({"end": builder.get()})["end"](*(tvm.runtime.tensor(np.ascontiguousarray(v)) for v in given), made)
    return np.array(made.numpy())


def test_nothing_follows() -> None:
    assert np.array_equal(stored(PLAIN), VALUES)


def test_a_residual_then_bounds() -> None:
    found = stored(Ending(residual=True, low=0.0, high=6.0), VALUES[::-1].copy())
    assert np.array_equal(found, np.clip(VALUES + VALUES[::-1], 0, 6))
    assert np.array_equal(stored(Ending(low=-1.0)), np.maximum(VALUES, -1))


def test_what_is_no_number_stays_none() -> None:
    broken = np.full_like(VALUES, np.nan)
    assert np.isnan(stored(Ending(residual=True, low=0.0, high=6.0), broken)).all()


@pytest.mark.parametrize("unsigned", [False, True])
def test_codes_are_rounded_half_to_even_and_kept_within_bounds(unsigned: bool) -> None:
    step = Step(0.5, 3, 0 if unsigned else -12, 15, unsigned)
    found = stored(Ending(codes=step))
    wanted = np.clip(np.round(VALUES / np.float32(0.5)) + 3, step.least, step.most)
    assert found.dtype == (np.uint8 if unsigned else np.int8)
    assert np.array_equal(found, wanted.astype(found.dtype))


def test_pieces_are_powers_of_two() -> None:
    assert list(pieces(13, 16)) == [(0, 8), (8, 4), (12, 1)]
    assert list(pieces(40, 16)) == [(0, 16), (16, 16), (32, 8)]
