"""What is read of a manifest, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import LoadError
from compressor.export.manifest import files_of, named_tensors, read_manifest, tolerance_of


def written(folder: Path, text: str) -> Path:
    (folder / "manifest.json").write_text(text)
    return folder


def test_a_bundle_s_manifest(digits_bundle: Path) -> None:
    manifest = read_manifest(digits_bundle)
    assert {"model.onnx", "golden.npz"} <= set(files_of(manifest))
    assert list(named_tensors(manifest["outputs"], "`outputs`")) == ["output"]
    assert 0 < tolerance_of(manifest) < 1


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[]", "not an object"), (json.dumps({"format": 2}), "format '2'")]
)
def test_what_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        read_manifest(written(tmp_path, text))


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no bundle"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a\\b", "c:x", "a//b", ""])
def test_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(LoadError, match="no name of a file"):
        files_of({"files": {name: {"sha256": "0", "bytes": 1}}})


@pytest.mark.parametrize("value", [True, "0.1", -0.1, 1, None])
def test_a_tolerance_is_a_share(value: Any) -> None:
    with pytest.raises(LoadError, match="not a number from 0 to 1"):
        tolerance_of({"tolerance": value})


@pytest.mark.parametrize("listed", [None, "x", [{}], [{"name": 1}], ["x"]])
def test_tensors_have_names(listed: Any) -> None:
    with pytest.raises(LoadError, match="`inputs` is not a list of named tensors"):
        list(named_tensors(listed, "`inputs`"))
