"""Inputs are drawn within their bounds, or taken from archives that are not unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.devices.runner.inputs import arrays


def test_drawn_inputs_have_their_shape_dtype_and_bounds_and_are_the_same_each_time() -> None:
    spec = {"x": {"shape": [4, 50], "dtype": "float32", "low": -2, "high": 3}, "i": {"shape": [99], "dtype": "int64"}}
    found, again = arrays(spec, "."), arrays(spec, ".")
    assert found["x"].dtype == np.float32
    assert found["x"].shape == (4, 50)
    assert -2 <= found["x"].min() < -1.5 < 2.5 < found["x"].max() < 3
    assert set(found["i"]) == {0}
    assert (found["x"] == again["x"]).all()


def test_integers_stay_below_high_and_bools_are_both() -> None:
    found = arrays(
        {"i": {"shape": [99], "dtype": "uint8", "low": 2, "high": 5}, "b": {"shape": [99], "dtype": "bool"}}, "."
    )
    assert set(found["i"]) == {2, 3, 4}
    assert set(found["b"]) == {False, True}


@pytest.mark.parametrize(("batch", "rows"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 0, 1])])
def test_an_array_is_cut_or_repeated_to_the_batch(tmp_path: Path, batch: int, rows: list[int]) -> None:
    array = np.arange(6).reshape(3, 2)
    np.savez(tmp_path / "a.npz", x=array)
    found = arrays({"x": {"npz": "a.npz", "batch": batch}, "y": {"npz": "a.npz", "key": "x"}}, str(tmp_path))
    assert (found["x"] == array[rows]).all()
    assert (found["y"] == array).all()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        arrays({"x": {"npz": "a.npz"}}, str(tmp_path))


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(ValueError, match="complex64"):
        arrays({"x": {"shape": [1], "dtype": "complex64"}}, ".")
