"""A latency table keeps what was measured, and refuses what cannot be a latency."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.devices.latency.boards.table import LatencyTable, logs_of
from compressor.errors import InputError

COLUMNS = {"pi | 1": {"a": 2.0, "b": 8.0}, "pi | 4": {"a": 1.0}, "nano": {"b": 3.0}}
BOARDS = {"pi | 1": "pi", "pi | 4": "pi"}


def test_a_table_of_columns_has_holes_where_nothing_was_measured() -> None:
    table = LatencyTable.of(COLUMNS, BOARDS)
    assert table.models == ("a", "b")
    assert table.boards == ("pi", "pi", "nano")
    np.testing.assert_array_equal(table.milliseconds, [[2.0, 1.0, np.nan], [8.0, np.nan, 3.0]])
    np.testing.assert_allclose(table.logs[:, 0], np.log([2.0, 8.0]))
    assert table.column("pi | 4") == {"a": 1.0}


def test_a_board_is_left_out_with_all_its_columns_and_the_models_that_only_it_has() -> None:
    table = LatencyTable.of(COLUMNS, BOARDS).without("pi")
    assert (table.models, table.devices, table.boards) == (("b",), ("nano",), ("nano",))
    with pytest.raises(InputError, match="no device but those of 'nano'"):
        table.without("nano")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_what_is_no_latency_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"latency of 'a' on x is .* ms"):
        LatencyTable.of({"x": {"a": value, "b": 1.0}})
    with pytest.raises(InputError, match="latency of 'a' on the new device"):
        logs_of({"a": value}, ["a"])


def test_nan_among_samples_is_refused() -> None:
    with pytest.raises(InputError, match="'a' on the new device is nan"):
        logs_of({"a": float("nan")}, ["a"])


def test_no_samples_and_unknown_models_are_refused() -> None:
    with pytest.raises(InputError, match="no measurements"):
        logs_of({}, ["a"])
    with pytest.raises(InputError, match=r"'resnet19'[\s\S]*resnet18"):
        logs_of({"resnet19": 1.0}, ["resnet18"])
    with pytest.raises(InputError, match="no device 'nani'"):
        LatencyTable.of(COLUMNS).column("nani")


def test_shapes_names_and_empty_rows_are_checked() -> None:
    with pytest.raises(InputError, match="shape"):
        LatencyTable(("a",), ("x",), ("x",), np.ones((2, 1)))
    with pytest.raises(InputError, match="shape"):
        LatencyTable.of({})
    with pytest.raises(InputError, match="model 'a' is there twice"):
        LatencyTable(("a", "a"), ("x",), ("x",), np.ones((2, 1)))
    with pytest.raises(InputError, match="model 'b' has no latency"):
        LatencyTable(("a", "b"), ("x",), ("x",), np.array([[1.0], [np.nan]]))
