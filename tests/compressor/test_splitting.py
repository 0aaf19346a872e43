"""Who calibrates, who trains, and who is evaluated on: never the trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.data import Dataset, load_data
from compressor.graph.signature import TensorSpec
from compressor.splitting import Span, batched, cut, total

X = TensorSpec("x", torch.float32, ("batch", 1))


def rows(start: int, stop: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.arange(start, stop, dtype="f4").reshape(-1, 1)


def used(dataset: Dataset) -> tuple[set[float], set[float], set[float]]:
    parts = (dataset.calibration, dataset.training, dataset.evaluation)
    calibration, training, evaluation = ({float(v) for b in part for v in b["x"].flatten()} for part in parts)
    assert not training & evaluation
    return calibration, training, evaluation


def numbers(start: int, stop: int) -> set[float]:
    return set(map(float, range(start, stop)))


def test_without_training_there_is_no_training_data() -> None:
    assert used(load_data({"x": rows(0, 80)}, [X])) == (numbers(0, 20), set(), numbers(20, 80))


def test_half_trains_where_something_is_to_be_trained() -> None:
    dataset = load_data({"x": rows(0, 3000)}, [X], train=True)
    assert used(dataset) == (numbers(0, 512), numbers(0, 1500), numbers(1500, 3000))
    assert "the first 1500 samples train" in dataset.notes[0]


def test_calibration_arrays_train_too() -> None:
    data = {"x": rows(0, 40), "calibration/x": rows(100, 130)}
    assert used(load_data(data, [X], train=True)) == (numbers(100, 130), numbers(100, 130), numbers(0, 40))


def test_train_arrays_train_and_calibrate() -> None:
    data = {"x": rows(0, 40), "train/x": rows(1000, 1900)}
    assert used(load_data(data, [X], train=True)) == (numbers(1000, 1512), numbers(1000, 1900), numbers(0, 40))
    both = {**data, "calibration/x": rows(100, 130)}
    assert used(load_data(both, [X], train=True)) == (numbers(100, 130), numbers(1000, 1900), numbers(0, 40))


def test_a_folders_train_arrays_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "x.npy", rows(0, 40))
    np.save(tmp_path / "train" / "x.npy", rows(100, 200))
    assert used(load_data(tmp_path, [X], train=True))[1] == numbers(100, 200)


def test_too_few_samples_are_not_trained_on() -> None:
    assert used(load_data({"x": rows(0, 9)}, [X], train=True)) == (numbers(0, 9), set(), numbers(0, 9))


def test_only_training_batches_hold_labels_and_only_where_there_are_some() -> None:
    data = {"x": rows(0, 40), "labels": np.arange(40), "train/x": rows(100, 140), "train/labels": np.arange(40)}
    dataset = load_data(data, [X], train=True, batch_size=16)
    assert [batch["labels"].tolist()[0] for batch in dataset.training] == [0, 16, 32]
    assert "labels" not in dataset.calibration[0]
    unlabelled = load_data({"x": rows(0, 40), "train/x": rows(100, 140)}, [X], train=True)
    assert "labels" not in unlabelled.training[0]
    assert "labels" in load_data({"x": rows(0, 40), "labels": np.arange(40)}, [X], train=True).training[:1][0]


def test_spans_are_cut() -> None:
    from compressor.fitting import Fitter

    fitter = Fitter([X], "test")
    chunk = fitter.fit({"x": rows(0, 10)})
    first, rest = cut([Span(chunk, 0, 6), Span(chunk, 6, 10)], 7)
    assert [(s.start, s.stop) for s in (*first, *rest)] == [(0, 6), (6, 7), (7, 10)]
    assert total(first) == 7
    assert batched([], None, 4, fitter) == []
    assert [len(span) for span in batched([Span(chunk, 0, 10)], 4, 99, fitter)] == [4, 4]
    with pytest.raises(Exception, match="fixed batch of 16"):
        batched([Span(chunk, 0, 10)], 16, 99, fitter)
