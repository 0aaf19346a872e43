from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.errors import OutputError
from compressor.export.bundle import default_name, golden, write_bundle
from compressor.graph.program import Program


def test_writes_files_of_every_kind_and_their_hashes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"copied")
    files = {"a.txt": b"bytes", "b.bin": source, "sub/c.txt": lambda path: path.write_text("written")}
    out = write_bundle(tmp_path / "out", force=False, files=files, manifest={"model": "m"})  # type: ignore[arg-type]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["format"], manifest["model"]) == (1, "m")
    assert set(manifest["files"]) == {"a.txt", "b.bin", "sub/c.txt"}
    for name, entry in manifest["files"].items():
        content = (out / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert (out / "sub" / "c.txt").read_text() == "written"


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_bundle(tmp_path / "out", force=False, files={"a": b"a", "model.onnx": full}, manifest={})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_not_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "out", force=False, files={}, manifest={"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped", "/etc/x", "a/../../b", "", "manifest.json"])
def test_names_outside_the_folder_are_a_programming_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        write_bundle(tmp_path / "out", force=False, files={name: b""}, manifest={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "target", "name"),
    [("net", "jetson", "net-jetson"), ("a b/v2", "x", "a_b_v2-x"), (".hidden", "x", "hidden-x"), ("", "", "bundle")],
)
def test_default_name(model: str, target: str, name: str) -> None:
    assert default_name(model, target) == name


def test_golden_has_inputs_outputs_and_the_originals(conv_program: Program) -> None:
    batch = {"x": torch.randn(2, 3, 8, 8)}
    content = golden(conv_program, conv_program, batch)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["original/output", "output", "x"]
        np.testing.assert_array_equal(arrays["x"], batch["x"].numpy())
        np.testing.assert_array_equal(arrays["output"], conv_program.run(batch)["output"].numpy())
    assert golden(conv_program, conv_program, batch) == content
