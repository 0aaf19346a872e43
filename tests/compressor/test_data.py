"""`--data` becomes calibration and evaluation batches that fit the program, or says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.data import Dataset, check_indices, example_from_data, load_data
from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.signature import TensorSpec

X = TensorSpec("x", torch.float32, ("batch", 4))
IDS = TensorSpec("ids", torch.int64, ("batch", "sequence"))


def rows(count: int, width: int = 4) -> np.ndarray[Any, Any]:
    """Row i holds i everywhere."""
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], width, axis=1)


def samples(batches: Any, name: str = "x") -> list[float]:
    return [float(row.flatten()[0]) for batch in batches for row in batch[name]]


def test_calibration_arrays_are_kept_apart(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"calibration/x": -rows(20), "x": rows(70), "labels": np.arange(70, dtype=np.int32)}
    np.savez(tmp_path / "d.npz", **arrays)
    dataset = load_data(tmp_path / "d.npz", [X])
    assert samples(dataset.calibration) == [-i for i in range(20)]
    assert samples(dataset.evaluation) == list(range(70))
    assert [len(batch["x"]) for batch in dataset.evaluation] == [32, 32, 6]
    assert dataset.labels is not None
    assert torch.cat(list(dataset.labels)).tolist() == list(range(70))
    assert dataset.labels[0].dtype == torch.int64
    assert dataset.notes == ()
    assert dataset.source == str(tmp_path / "d.npz")
    assert len(dataset.evaluation[1:]) == 2


def test_the_first_quarter_calibrates_and_no_more_than_512() -> None:
    dataset = load_data({"x": rows(80)}, [X], batch_size=16)
    assert samples(dataset.calibration) == list(range(20))
    assert samples(dataset.evaluation) == list(range(20, 80))
    assert "the first 20 samples calibrate, the other 60 evaluate" in dataset.notes
    assert len(samples(load_data({"x": rows(4000)}, [X]).calibration)) == 512


def test_a_tiny_set_serves_for_both_and_says_so() -> None:
    dataset = load_data({"x": rows(5)}, [X])
    assert samples(dataset.calibration) == samples(dataset.evaluation) == list(range(5))
    assert "too few to split" in dataset.notes[0]
    dataset = load_data({"calibration/x": rows(5)}, [X])
    assert samples(dataset.calibration) == samples(dataset.evaluation)
    assert "evaluated on the calibration data" in dataset.notes[0]


def test_a_fixed_batch_is_exact_and_what_is_left_out_is_told() -> None:
    fixed = TensorSpec("x", torch.float32, (8, 4))
    dataset = load_data({"x": rows(45), "labels": np.arange(45)}, [fixed])
    assert samples(dataset.calibration) == list(range(16))
    assert samples(dataset.evaluation) == list(range(16, 40))
    assert {len(batch["x"]) for batch in (*dataset.calibration, *dataset.evaluation)} == {8}
    assert dataset.labels is not None
    assert {len(labels) for labels in dataset.labels} == {8}
    assert any("left out 5 samples" in note for note in dataset.notes)
    with pytest.raises(InputError, match="fixed batch of 8"):
        load_data({"x": rows(7)}, [fixed])


def test_limit_caps_evaluation() -> None:
    dataset = load_data({"x": rows(80)}, [X], limit=10)
    assert samples(dataset.evaluation) == list(range(20, 30))
    assert "evaluated on the first 10 of 60 samples" in dataset.notes


def test_one_array_of_any_name_fits_one_input() -> None:
    dataset = load_data({"images": rows(20)}, [X])
    assert samples(dataset.evaluation)[0] == 5
    assert "array 'images' is taken for the model's one input 'x'" in dataset.notes


def test_dtypes_are_converted_and_noted() -> None:
    specs = [X, IDS, TensorSpec("mask", torch.bool, ("batch",))]
    arrays = {"x": rows(4).astype("f2"), "ids": np.ones((4, 3), "i4"), "mask": np.array([0, 1, 1, 0])}
    dataset = load_data(arrays, specs)
    assert [tensor.dtype for tensor in dataset.evaluation[0].values()] == [torch.float32, torch.int64, torch.bool]
    assert "x: float16 read as float32" in dataset.notes
    assert "ids: int32 read as int64" in dataset.notes


@pytest.mark.parametrize(
    ("arrays", "what", "way_out"),
    [
        ({"x": rows(4), "y": rows(4)}, "no array for input 'ids': the data have x, y; the model takes x, ids", ""),
        ({"x": rows(4), "idx": np.ones((4, 2), int)}, "no array for input 'ids'", "Did you mean ids"),
        ({"x": rows(4), "ids": np.ones((4, 2), int), "z": rows(4)}, "array 'z' is no input", "Known: ids, x"),
        ({"x": rows(4), "ids": np.ones((3, 2), int)}, r"number of samples \(x: 4, ids: 3\)", ""),
        ({"x": rows(4), "ids": np.ones((4, 2), int), "labels": np.ones(5)}, "labels: 5", ""),
        ({"x": rows(4, 5), "ids": np.ones((4, 2), int)}, r"has the shape \(4, 5\), the model takes \(samples, 4\)", ""),
        ({"x": rows(4)[0], "ids": np.ones((4, 2), int)}, "'x' has the shape|number of samples", ""),
        ({"x": rows(0), "ids": np.ones((0, 2), int)}, "there are no samples", ""),
        ({"x": rows(4).astype("u1"), "ids": np.ones((4, 2), int)}, "'x' is uint8, the model takes float32", "255"),
        ({"x": rows(4), "ids": np.ones((4, 2))}, "'ids' is float64, the model takes int64", "int64"),
        ({"x": rows(4), "ids": np.ones((4, 2), int), "labels": np.full(4, np.nan)}, "labels hold NaN", ""),
    ],
)
def test_what_does_not_fit_is_explained(arrays: dict[str, Any], what: str, way_out: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        load_data(arrays, [X, IDS])
    assert way_out in caught.value.way_out
    assert caught.value.where == "data"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_are_finite(bad: float) -> None:
    x = rows(300).astype("f8")
    x[290, 2] = bad
    what = "beyond float32" if bad == 1e300 else "NaN or infinite values, first in sample 290"
    with pytest.raises(InputError, match=what):
        load_data({"x": x}, [X])
    load_data({"x": x}, [X], limit=5)  # what is not used is not looked at


def test_whole_numbers_survive_narrowing_or_are_refused() -> None:
    narrow = [TensorSpec("ids", torch.int32, ("batch", 2))]
    assert load_data({"ids": np.full((4, 2), 7)}, narrow).evaluation[0]["ids"].dtype == torch.int32
    with pytest.raises(InputError, match="beyond int32"):
        load_data({"ids": np.full((4, 2), 2**40)}, narrow)


def test_inputs_without_a_batch_serve_every_batch_and_others_are_cut_along_theirs() -> None:
    specs = [X, TensorSpec("table", torch.float32, (3, 4)), TensorSpec("h", torch.float32, (1, "batch", 2))]
    arrays = {"x": rows(40), "table": np.ones((3, 4), "f4"), "h": rows(40, 2)[None]}
    dataset = load_data(arrays, specs, batch_size=10)
    batch = dataset.evaluation[0]
    assert batch["table"].shape == (3, 4)
    assert batch["h"].shape == (1, 10, 2)
    assert batch["h"][0, :, 0].tolist() == batch["x"][:, 0].tolist()


def test_batches_that_capture_could_not_prove_equal_are_cut_together() -> None:
    specs = [X, TensorSpec("mask", torch.float32, ("mask.batch", 4))]
    batch = load_data({"x": rows(40), "mask": rows(40)}, specs, batch_size=10).evaluation[0]
    assert torch.equal(batch["x"], batch["mask"])


def test_a_program_without_a_batch_takes_one_example() -> None:
    specs = [TensorSpec("a", torch.float32, (3, 4)), TensorSpec("b", torch.float32, (5,))]
    dataset = load_data({"a": np.ones((3, 4), "f4"), "b": np.ones(5, "f4"), "labels": np.arange(3)}, specs)
    assert [batch["a"].shape for batch in dataset.evaluation] == [(3, 4)]
    assert dataset.labels is not None
    assert dataset.labels[0].tolist() == [0, 1, 2]


def with_labels() -> Iterator[Any]:
    for start in range(4):
        yield torch.full((8, 4), float(start)), torch.arange(8)


def as_dicts() -> Iterator[Any]:
    for length in (3, 5, 2, 7):
        yield {"ids": torch.ones(6, length, dtype=torch.int64), "labels": np.arange(6)}


def as_pairs() -> Iterator[Any]:
    for _ in range(4):
        yield ({"x": np.ones((5, 4), "f4")}, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("function", "specs", "calibration", "evaluation"),
    [(with_labels, [X], 8, 24), (as_dicts, [IDS], 6, 18), (as_pairs, [X], 5, 15)],
)
def test_functions_yield_batches(function: Any, specs: list[TensorSpec], calibration: int, evaluation: int) -> None:
    dataset = load_data(function, specs)
    name = specs[0].name
    assert sum(len(batch[name]) for batch in dataset.calibration) == calibration
    assert sum(len(batch[name]) for batch in dataset.evaluation) == evaluation
    assert dataset.labels is not None
    assert [len(labels) for labels in dataset.labels] == [len(batch[name]) for batch in dataset.evaluation]


def test_two_inputs_are_not_mistaken_for_labels() -> None:
    specs = [X, TensorSpec("y", torch.float32, ("batch", 4))]
    assert load_data([(rows(4), rows(4))], specs).labels is None
    labelled = load_data([(rows(4), rows(4), np.arange(4))], specs).labels
    assert labelled is not None
    with pytest.raises(InputError, match=r"yields 4 values, the model takes 2 \(x, y\)"):
        load_data([(rows(4), rows(4), rows(4), rows(4))], specs)


def test_an_endless_function_is_cut() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.ones(100, 4)

    dataset = load_data(endless, [X], limit=50)
    assert len(samples(dataset.evaluation)) == 50
    assert any("read no more than" in note for note in dataset.notes)


def test_a_function_that_stops_labelling_is_refused() -> None:
    with pytest.raises(InputError, match="some batches have labels"):
        load_data([(rows(4), np.arange(4)), rows(4)], [X])


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(10, 4), nn.Linear(4, 4)

    def forward(self, ids: Tensor, d: Any, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            raise ValueError("labels are not for the example")
        return self.words(ids).mean(1) + self.layer(d["a"]) + d["b"][0]


def nested_arrays(count: int = 6) -> dict[str, Any]:
    ids = np.arange(count * 3, dtype=np.int32).reshape(count, 3) % 10
    return {"ids": ids, "d.a": rows(count).astype("f8"), "d.b.0": rows(count), "labels": np.arange(count)}


def test_examples_before_capture_are_nested_and_normal(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **nested_arrays())
    args, kwargs = example_from_data(tmp_path / "d.npz", Nested())
    ids, d = args
    assert not kwargs
    assert ids.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (ids.dtype, d["a"].dtype, d["b"][0].shape) == (torch.int64, torch.float32, (2, 4))
    program = capture(Nested(), args, kwargs).program
    dataset = load_data(tmp_path / "d.npz", program.inputs)
    assert set(program.run(dataset.evaluation[0])) == {"output"}
    check_indices(program, dataset)
    wrong = load_data({**nested_arrays(), "ids": np.full((6, 3), 10)}, program.inputs)
    with pytest.raises(InputError, match="'ids' holds 10, the model looks up 0 to 9"):
        check_indices(program, wrong)


def test_example_of_one_input_under_any_name() -> None:
    (x,), _ = example_from_data({"whatever": rows(3)}, nn.Linear(4, 2))
    assert x.shape == (2, 4)
    (x,), _ = example_from_data(with_labels, nn.Linear(4, 2).half())
    assert x.dtype == torch.float16
    with pytest.raises(InputError, match="no input 'idz'"):
        example_from_data({"idz": rows(3), "d": rows(3)}, Nested())
    with pytest.raises(InputError, match="no samples"):
        example_from_data([], nn.Linear(4, 2))


def test_dataset_is_a_plain_value() -> None:
    dataset = Dataset(calibration=[], evaluation=[{"x": torch.ones(1)}])
    assert dataset.labels is None
    assert dataset.notes == ()


def test_a_text_of_no_tokens_is_no_example() -> None:
    with pytest.raises(InputError, match="its samples are empty"):
        example_from_data({"ids": np.zeros((20, 0), np.int64)}, nn.Embedding(5, 3))
