"""safetensors need a factory; a header that lies is an error."""

from __future__ import annotations

import builtins
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.models import factory_file
from safetensors.torch import save_file

from compressor.errors import LoadError
from compressor.load.model import load_model
from compressor.load.safetensors_file import read_tensors
from compressor.userfile import load_function


def test_weights_with_a_factory(tmp_path: Path) -> None:
    factory = f"{factory_file(tmp_path)}:build"
    original = load_function(factory, "--model")().eval()
    save_file(original.state_dict(), tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", factory=factory)
    x = torch.randn(2, 1, 8, 8)
    assert loaded.module is not None
    assert torch.equal(loaded.module(x), original(x))
    with pytest.raises(LoadError, match="--model"):
        load_model(tmp_path / "m.safetensors")


def lying(offsets: list[int], shape: list[int], dtype: str = "F32") -> bytes:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        lying([0, 1 << 40], [1 << 38]),
        lying([0, 16], [1 << 40]),
        lying([8, 0], [4]),
        lying([0, 16], [4], "PICKLE"),
        struct.pack("<Q", 2) + b"{]" + bytes(9),
        struct.pack("<Q", 10) + b"{" * 10,
    ],
)
def test_header_that_lies(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(LoadError, match="damaged"):
        load_model(tmp_path / "m.safetensors", factory=f"{factory_file(tmp_path)}:build")


def test_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(LoadError, match="pip install"):
        read_tensors(tmp_path / "m.safetensors")
