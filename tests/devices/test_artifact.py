"""What of a bundle goes to a board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.devices.artifact import KINDS, kind_of, rows
from compressor.export.verify import Contents, open_bundle


@pytest.fixture(scope="module")
def bundle(digits_bundle: Path) -> Contents:
    return open_bundle(digits_bundle)


def changed(bundle: Contents, **manifest: Any) -> Contents:
    return dataclasses.replace(bundle, manifest={**bundle.manifest, **manifest})


def test_the_model_its_weights_and_the_golden_vectors_are_pushed(bundle: Contents) -> None:
    digests = {**bundle.digests, "model.onnx.data": "", "rejected/model.onnx": ""}
    files = KINDS[0].files(dataclasses.replace(bundle, digests=digests))
    assert set(files) == {"model.onnx", "model.onnx.data", "golden.npz"}


def test_the_kind_is_one_that_all_hold(bundle: Contents) -> None:
    assert kind_of([bundle, bundle]).artifact == "model.onnx"


def test_a_dynamic_batch_is_the_one_asked_for_and_a_fixed_one_stays(bundle: Contents) -> None:
    job = KINDS[0].job(bundle, "0", 3, 2)
    assert job["inputs"] == {"x": {"npz": "0/golden.npz", "batch": 3}}
    assert (job["model"], job["threads"]) == ("0/model.onnx", 2)
    assert rows(bundle, 3) == 3
    fixed = changed(bundle, inputs=[{"name": "x", "shape": [2, 1, 8, 8]}])
    assert KINDS[0].job(fixed, "0", 3, 2)["inputs"] == {"x": {"npz": "0/golden.npz"}}
    assert rows(fixed, 3) == 2


def test_a_model_without_rows_counts_runs(bundle: Contents) -> None:
    scalar = dataclasses.replace(bundle, golden={"x": np.array(1.0)}, manifest={"inputs": [{"name": "x", "shape": []}]})
    assert rows(scalar, 5) == 1


@pytest.mark.parametrize(
    ("target", "providers"),
    [
        ("jetson-orin-nano", {"TensorrtExecutionProvider", "CUDAExecutionProvider"}),
        ("host", set()), ("./mine.toml", set()), ("unknown", set()), (3, set()),
    ],
)  # fmt: skip
def test_it_runs_on_what_its_target_runs_it_on(bundle: Contents, target: Any, providers: set[str]) -> None:
    found = KINDS[0].job(changed(bundle, target=target), "0", 1, 1)["providers"]
    assert set(found) & {"TensorrtExecutionProvider", "CUDAExecutionProvider"} == providers
