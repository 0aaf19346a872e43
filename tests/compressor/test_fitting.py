"""The pieces that matching data with a program is made of; `test_data.py` tests the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressor.errors import InputError
from compressor.fitting import Fitter, fixed_batch, normal
from compressor.graph.signature import TensorSpec


def specs(*shapes: tuple[int | str, ...]) -> list[TensorSpec]:
    return [TensorSpec(f"x{i}", torch.float32, shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(4, 3), (4,)], 4),
        ([("batch", 3)], None),
        ([("batch", 3), (4,)], None),
        ([(4, 3), (5,)], None),
        ([(4, 3), ()], 4),
        ([()], None),
    ],
)
def test_fixed_batch(shapes: list[tuple[int | str, ...]], expected: int | None) -> None:
    assert fixed_batch(specs(*shapes)) == expected


def test_samples_before_capture_take_the_dtype_of_the_weights() -> None:
    half = nn.Linear(2, 2).half()
    assert normal(torch.ones(2, dtype=torch.float64), half).dtype == torch.float16
    assert normal(torch.ones(2, dtype=torch.float64), nn.ReLU()).dtype == torch.float32
    assert normal(torch.ones(2, dtype=torch.int32), half).dtype == torch.int64
    assert normal(torch.ones(2, dtype=torch.uint8), half).dtype == torch.uint8


def test_a_chunk_cuts_each_input_along_its_axis() -> None:
    fitter = Fitter(specs(("batch", 2), (1, "batch"), (3,)), "data")
    item: dict[str, Any] = {"x0": torch.arange(12.0).view(6, 2), "x1": torch.arange(6.0)[None], "x2": torch.ones(3)}
    chunk = fitter.fit({**item, "labels": torch.arange(6)})
    assert len(chunk) == 6
    batch = chunk.batch(4, 9)
    assert [tuple(tensor.shape) for tensor in batch.values()] == [(2, 2), (1, 2), (3,)]
    assert batch["x1"].tolist() == [[4, 5]]
    labels = chunk.labels_of(4, 9)
    assert labels is not None
    assert labels.tolist() == [4, 5]


def test_a_value_that_is_not_finite_is_found_along_any_axis() -> None:
    fitter = Fitter(specs(("batch", 2), (1, "batch")), "data")
    h = torch.zeros(1, 600)
    h[0, 300] = torch.nan
    chunk = fitter.fit({"x0": torch.zeros(600, 2), "x1": h})
    fitter.check_values(chunk, 0, 300)
    with pytest.raises(InputError, match="'x1' holds NaN or infinite values, first in sample 300"):
        fitter.check_values(chunk, 0, 600)


def test_an_unknown_prefix_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError) as raised:
        Fitter(specs(("batch",), ("batch",)), "data").fit({"x0": torch.ones(3), "validation/x1": torch.ones(3)})
    assert "`train/` or `calibration/`" in str(raised.value.way_out)


def test_notes_do_not_repeat() -> None:
    fitter = Fitter(specs(("batch",)), "data")
    for _ in range(2):
        fitter.fit({"x0": torch.ones(3, dtype=torch.float64)})
    assert fitter.notes == ["x0: float64 read as float32"]


def test_a_cache_is_empty_and_a_mask_as_long_as_the_text() -> None:
    fitter = Fitter(
        [
            TensorSpec("mask", torch.int64, ("batch", "past + sequence")),
            TensorSpec("ids", torch.int64, ("batch", "sequence")),
            TensorSpec("past_key_values.0.key", torch.float32, ("batch", 2, "past", 4)),
        ],
        "data",
    )
    ids = torch.zeros(6, 5, dtype=torch.int64)
    for item in ({"ids": ids, "mask": torch.ones_like(ids)}, (torch.ones_like(ids), ids)):
        batch = fitter.fit(item).batch(1, 4)
        assert batch["past_key_values.0.key"].shape == (3, 2, 0, 4)
        assert batch["mask"].shape == (3, 5)
    with pytest.raises(InputError, match="'mask'"):
        fitter.fit({"ids": ids, "mask": torch.ones(6, 7, dtype=torch.int64)})
    given = {"ids": ids, "mask": torch.ones(6, 7, dtype=torch.int64), "past_key_values.0.key": torch.ones(6, 2, 2, 4)}
    assert fitter.fit(given).batch(0, 2)["past_key_values.0.key"].shape == (2, 2, 2, 4)


def test_texts_without_a_token_are_refused() -> None:
    mask = TensorSpec("attention_mask", torch.int64, ("batch", "sequence"))
    fitter = Fitter([TensorSpec("ids", torch.int64, ("batch", "sequence")), mask], "data")
    empty = torch.zeros(6, 0, dtype=torch.int64)
    with pytest.raises(InputError, match=r"'ids' has the shape \(6, 0\): its samples are empty"):
        fitter.fit({"ids": empty, "attention_mask": empty})
    ids = torch.ones(6, 5, dtype=torch.int64)
    padded = torch.ones_like(ids)
    padded[4] = 0
    chunk = fitter.fit({"ids": ids, "attention_mask": padded})
    fitter.check_values(chunk, 0, 4)
    with pytest.raises(InputError, match="'attention_mask' is 0 everywhere in sample 4"):
        fitter.check_values(chunk, 2, 6)
