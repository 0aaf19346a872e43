"""Content decides, whatever the suffix; what is no model is told by name."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile.archives import plain_pickle
from torch import nn

from compressor.errors import LoadError
from compressor.load.kinds import Kind, detect, read_json


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def saved(thing: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer, **options)
    return buffer.getvalue()


KINDS = {
    Kind.PT2: zipped("m/models/model.json", "m/data/weights/weight_0"),
    Kind.TORCHSCRIPT: zipped("m/constants.pkl", "m/data.pkl", "m/code/x.py"),
    Kind.CHECKPOINT: saved(nn.Linear(2, 2).state_dict()),
    Kind.LEGACY: saved(nn.Linear(2, 2).state_dict(), _use_new_zipfile_serialization=False),
    Kind.SAFETENSORS: struct.pack("<Q", 2) + b"{}",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".pt", ".onnx", "", ".jpg"])
def test_kind_by_content(kind: Kind, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(KINDS[kind])
    assert detect(path) is kind


def test_bare_pickle(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(plain_pickle({}))
    assert detect(tmp_path / "m.pt") is Kind.LEGACY


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"without config\.json"):
        detect(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert detect(tmp_path) is Kind.HUGGING_FACE


def test_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "golden.npz").write_text("")
    with pytest.raises(LoadError, match="bundle"):
        detect(tmp_path)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"GGUF" + bytes(20), "GGUF"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(20), "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (npz(), "arrays, not a model"),
        (zipped("a/b.txt"), "zip without a model"),
        (zipped("a.txt", "b.txt"), "share no folder"),
        (b"PK\x03\x04" + bytes(50), "truncated or damaged"),
        (b"random bytes, no model", "not a model file"),
        (bytes(100), "not a model file"),
        (struct.pack("<Q", 1 << 60) + b"{}" + bytes(50), "not a model file"),
    ],
)
def test_no_model(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(LoadError, match=message) as caught:
        detect(tmp_path / "m.pt")
    assert caught.value.way_out


def test_onnx_by_suffix_and_python_source(tmp_path: Path) -> None:
    for name, message in (("m.onnx", "ONNX"), ("m.py", "Python source")):
        (tmp_path / name).write_bytes(b"import torch")
        with pytest.raises(LoadError, match=message):
            detect(tmp_path / name)


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"Did you mean model\.pt"):
        detect(tmp_path / "modle.pt")
    with pytest.raises(LoadError, match="no folder"):
        detect(tmp_path / "none" / "model.pt")


def test_path_that_no_system_takes() -> None:
    with pytest.raises(LoadError):
        detect(Path("a\0b"))
    with pytest.raises(LoadError):
        detect(Path("x" * 5000))


@pytest.mark.parametrize("text", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(LoadError):
        read_json(tmp_path / "config.json")


def test_json_of_bounded_size(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"a": 1}))
    assert read_json(tmp_path / "c.json") == {"a": 1}
    with pytest.raises(LoadError, match="more than 3 bytes"):
        read_json(tmp_path / "c.json", limit=3)


def test_loading_is_imported_without_torch() -> None:
    code = "import sys, compressor.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
