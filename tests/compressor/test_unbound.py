"""Inputs for models whose `forward` cannot be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.errors import InputError
from compressor.inputs import parse_input
from compressor.unbound import unbound_example, unbound_inputs


def test_shapes_go_by_position_and_names_by_keyword() -> None:
    args, kwargs = unbound_inputs([parse_input("2x3"), parse_input("ids=2x5:int64")], seed=0)
    assert [tuple(value.shape) for value in args] == [(2, 3)]
    assert kwargs["ids"].dtype == torch.int64
    again, _ = unbound_inputs([parse_input("2x3"), parse_input("ids=2x5:int64")], seed=0)
    assert torch.equal(args[0], again[0])


def test_one_array_goes_by_position_and_several_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", anything=np.zeros((5, 3)), labels=np.zeros(5, np.int64))
    args, kwargs = unbound_example(tmp_path / "one.npz")
    assert (tuple(args[0].shape), args[0].dtype, kwargs) == ((2, 3), torch.float32, {})
    np.savez(tmp_path / "two.npz", a=np.zeros((5, 3), np.float32), b=np.zeros((5, 4), np.float32))
    args, kwargs = unbound_example(tmp_path / "two.npz")
    assert (args, sorted(kwargs)) == ((), ["a", "b"])


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        unbound_example([])


def test_empty_samples_are_refused() -> None:
    with pytest.raises(InputError, match="its samples are empty"):
        unbound_example({"ids": np.zeros((20, 0), np.int64)})
