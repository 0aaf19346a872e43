"""Cosine and squared error on outputs whose value is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from decoders import tiny_decoder
from torch import Tensor

from compressor.data import Dataset
from compressor.errors import InputError
from compressor.graph.signature import TensorSpec
from compressor.similarity import Cosine, SquaredError


@dataclass(frozen=True)
class Outputs:
    """As much of a program as a metric looks at."""

    outputs: tuple[TensorSpec, ...]


def program(*shapes: tuple[int | str, ...], dtype: torch.dtype = torch.float32) -> Any:
    return Outputs(tuple(TensorSpec(f"o{i}", dtype, shape) for i, shape in enumerate(shapes)))


def fixed(*batches: Mapping[str, Tensor]) -> Any:
    """A model that gives these outputs, one a batch whose number is its input."""
    return lambda batch: batches[int(batch["n"])]


def numbered(count: int, labels: list[Tensor] | None = None) -> Dataset:
    return Dataset([], [{"n": torch.tensor(i)} for i in range(count)], labels)


def test_cosine_weighs_samples_and_outputs_alike() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    b = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 3.0]])
    cosine = Cosine.of(program(("batch", 2), ("batch", 2)))
    original = fixed({"o0": a[:2], "o1": a[:2]}, {"o0": a[2:], "o1": a[2:]})
    assert cosine(fixed({"o0": a[:2], "o1": b[:2]}, {"o0": a[2:], "o1": b[2:]}), numbered(2), original) == (
        pytest.approx((1 + 2 / 3) / 2)
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [([[0.0, 0.0]], [[0.0, 0.0]], 1.0), ([[0.0, 0.0]], [[1.0, 0.0]], 0.0), ([[math.nan, 0.0]], [[1.0, 0.0]], math.nan)],
)
def test_cosine_of_zeros_and_nan(ours: list[list[float]], theirs: list[list[float]], expected: float) -> None:
    cosine = Cosine.of(program(("batch", 2)))
    value = cosine(fixed({"o0": torch.tensor(ours)}), numbered(1), fixed({"o0": torch.tensor(theirs)}))
    assert value == expected or (math.isnan(value) and math.isnan(expected))


def test_cosine_of_one_number_a_sample_is_taken_over_the_batch() -> None:
    cosine = Cosine.of(program(("batch", 1)))
    ours, theirs = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    value = cosine(fixed({"o0": ours}), numbered(1), fixed({"o0": theirs}))
    assert value == pytest.approx(4 / math.sqrt(20))


def test_squared_error_counts_every_element_once() -> None:
    error = SquaredError.of(program(("batch", 2), ("batch",)))
    ours = {"o0": torch.ones(2, 2), "o1": torch.zeros(2)}
    theirs = {"o0": torch.zeros(2, 2), "o1": torch.full((2,), 2.0)}
    assert error(fixed(ours), numbered(1), fixed(theirs)) == pytest.approx((4 * 1 + 2 * 4) / 6)
    with pytest.raises(InputError, match="no output of the model holds floats"):
        SquaredError.of(program(("batch",), dtype=torch.int64))


def test_comparing_without_an_original_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="reference"):
        Cosine.of(program(("batch", 2)))(fixed(), numbered(1), None)


def test_a_cache_is_not_judged() -> None:
    assert [spec.name for spec in Cosine.of(tiny_decoder()).outputs] == ["logits"]
    assert [spec.name for spec in SquaredError.of(tiny_decoder()).outputs] == ["logits"]
