"""What data sources yield, taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compressor.errors import InputError
from compressor.items import check_filled, resolve

A, B, C = torch.ones(2), torch.zeros(2), torch.arange(2)


@pytest.mark.parametrize(
    ("item", "names", "count", "inputs", "labels"),
    [
        (A, ["x"], 1, ["x"], False),
        ([1.0, 2.0], ["x"], 1, ["x"], False),
        ((A,), ["x"], 1, ["x"], False),
        ((A, C), ["x"], 1, ["x"], True),
        ([A, C], ["x"], 1, ["x"], True),
        ((A, B), ["x", "y"], 2, ["x", "y"], False),
        ((A, B, C), ["x", "y"], 2, ["x", "y"], True),
        (((A, B), C), ["x", "y"], 2, ["x", "y"], True),
        (((A, B), [0, 1]), ["x", "y"], 2, ["x", "y"], True),
        (({"x": A}, C), ["x"], 1, ["x"], True),
        ({"x": A, "labels": C}, ["x"], 1, ["x"], True),
        ({"x": A, "labels": C}, ["x", "labels"], 2, ["x", "labels"], False),
        ({"d": {"a": A, "b": [B, C]}}, ["d.a"], 3, ["d.a", "d.b.0", "d.b.1"], False),
        ({"x": [[1, 2], [3, 4]]}, ["x"], 1, ["x"], False),
        ((A, C), ["x", "optional"], 1, ["x"], True),
    ],
)
def test_resolve(item: Any, names: list[str], count: int, inputs: list[str], labels: bool) -> None:
    found, truth = resolve(item, names, count, "data")
    assert list(found) == inputs
    assert (truth is not None) is labels


@pytest.mark.parametrize("item", [(A, B, C, A), ((A, B, C, A), C), ()])
def test_a_tuple_of_another_length_is_explained(item: Any) -> None:
    with pytest.raises(InputError, match=r"the model takes 2 \(x, y\)"):
        resolve(item, ["x", "y"], 2, "data")


def test_what_is_no_array_is_explained() -> None:
    with pytest.raises(InputError, match=r"not an array|plain numbers"):
        resolve({"x": [[1, 2], [3]]}, ["x"], 1, "data")
    with pytest.raises(InputError, match="plain numbers"):
        resolve({"x": np.array(["a"])}, ["x"], 1, "data")


def test_samples_that_hold_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"'ids' has the shape \(20, 0\): its samples are empty") as raised:
        check_filled("ids", torch.zeros(20, 0), "data")
    assert "one token at least" in str(raised.value.way_out)
    for name, shape in (("ids", (20, 1)), ("ids", (0, 5)), ("flag", ()), ("past_key_values.0.key", (20, 2, 0, 4))):
        check_filled(name, torch.zeros(shape), "data")
    check_filled("state", torch.zeros(1, 0), "data", axis=1)  # no samples, which is told elsewhere
