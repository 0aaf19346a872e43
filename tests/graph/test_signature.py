"""Specs survive JSON, and leaves are named after where they are."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest
import torch

from compressor.graph.signature import TensorSpec, dtype_name, dtype_named, flat_names

Pair = namedtuple("Pair", ["left", "right"])


def test_specs_survive_json() -> None:
    spec = TensorSpec("ids", torch.int64, ("batch", "2*sequence", 3))
    assert spec.to_json() == {"name": "ids", "dtype": "int64", "shape": ["batch", "2*sequence", 3]}
    assert TensorSpec.from_json(spec.to_json()) == spec


def test_concrete_shapes() -> None:
    spec = TensorSpec("x", torch.float32, ("batch", "sequence", 3))
    assert spec.concrete(batch=4) == (4, 1, 3)
    assert spec.concrete(batch=4, sequence=7) == (4, 7, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.uint8, torch.bool])
def test_dtypes_by_name(dtype: torch.dtype) -> None:
    assert dtype_named(dtype_name(dtype)) is dtype


@pytest.mark.parametrize("name", ["float33", "nn", "Tensor", ""])
def test_no_other_name_is_a_dtype(name: str) -> None:
    with pytest.raises(KeyError):
        dtype_named(name)


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (1, ["output"]),
        ([1, 2], ["output_0", "output_1"]),
        ({"a": 1, "b": [2, (3,)]}, ["a", "b.0", "b.1.0"]),
        ((1, {"x": 2}), ["output_0", "output_1.x"]),
        (Pair(1, [2]), ["left", "right.0"]),
        (OrderedDict(z=1, a=2), ["z", "a"]),
        ([], []),
    ],
)
def test_leaves_are_named_after_where_they_are(tree: object, names: list[str]) -> None:
    assert flat_names(tree) == names


def test_the_root_is_named_by_the_caller() -> None:
    assert flat_names(1, "input") == ["input"]
    assert flat_names([1], "input") == ["input_0"]
