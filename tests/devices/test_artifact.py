"""What of a bundle goes to a board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from compressor.devices.artifact import KINDS, kind_of, parts_of
from compressor.errors import LoadError
from compressor.export.verify import Contents, open_bundle


@pytest.fixture(scope="module")
def bundle(digits_bundle: Path) -> Contents:
    return open_bundle(digits_bundle)


def changed(bundle: Contents, **manifest: Any) -> Contents:
    return dataclasses.replace(bundle, manifest={**bundle.manifest, **manifest})


def test_the_model_its_weights_and_the_golden_vectors_are_pushed(bundle: Contents, tmp_path: Path) -> None:
    digests = {**bundle.digests, "model.onnx.data": "", "rejected/model.onnx": ""}
    files = KINDS[0].files(dataclasses.replace(bundle, digests=digests), tmp_path, 1, 1)
    assert set(files) == {"model.onnx", "model.onnx.data", "golden.npz"}


def test_the_kind_is_the_first_that_the_bundle_holds(bundle: Contents) -> None:
    assert kind_of(bundle).artifact == "model.onnx"
    compiled = dataclasses.replace(bundle, digests={"model.so": "", "golden.npz": ""})
    assert kind_of(compiled).artifact == "model.so"
    assert kind_of(compiled).runner.name != kind_of(bundle).runner.name


def test_a_bundle_of_several_kinds_is_as_many(bundle: Contents) -> None:
    assert parts_of(bundle) == (bundle,)
    both = dataclasses.replace(bundle, digests={**bundle.digests, "model.so": ""})
    model, library = parts_of(changed(both, predicted={"ms": 1}))
    assert "model.so" not in model.digests
    assert kind_of(library).artifact == "model.so"
    assert "golden.npz" in library.digests
    assert "predicted" in model.manifest
    assert "predicted" not in library.manifest, "it is the model's"


def test_what_is_not_linked_yet_is_told(bundle: Contents) -> None:
    with pytest.raises(LoadError, match=r"sh build-model\.sh makes a library"):
        parts_of(dataclasses.replace(bundle, digests={"build-model.sh": "", "golden.npz": ""}))


def test_a_dynamic_batch_is_the_one_asked_for_and_a_fixed_one_stays(bundle: Contents) -> None:
    job = KINDS[0].job(bundle, "0", 3, 2)
    assert job["inputs"] == {"x": {"npz": "0/golden.npz", "batch": 3}}
    assert (job["model"], job["threads"]) == ("0/model.onnx", 2)
    fixed = changed(bundle, inputs=[{"name": "x", "shape": [2, 1, 8, 8]}])
    assert KINDS[0].job(fixed, "0", 3, 2)["inputs"] == {"x": {"npz": "0/golden.npz"}}


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


def test_operators_go_along_and_the_runner_is_told_of_them(operators_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(operators_bundle)
    kind = kind_of(bundle)
    assert set(kind.files(bundle, tmp_path, 1, 1)) == {"model.onnx", "model_ops.so", "golden.npz"}
    assert kind.job(bundle, "0", 1, 1)["operators"] == "0/model_ops.so"


def test_without_operators_the_runner_is_told_of_none(bundle: Contents) -> None:
    assert "operators" not in KINDS[0].job(bundle, "0", 1, 1)
