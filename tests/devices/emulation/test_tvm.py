"""TVM's runtime in the emulated root: which wheels, and what stays of them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from compressor.devices.emulation import tvm
from compressor.devices.emulation.tvm import fetch_tvm, tvm_wheels
from compressor.errors import DeviceError

VERSIONS = {"apache-tvm": "0.27", "apache-tvm-ffi": "0.1", "typing_extensions": "4.16"}


def test_the_versions_are_those_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", VERSIONS.__getitem__)
    assert tvm_wheels() == VERSIONS

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert tvm_wheels() == {}


def test_one_library_stays_of_the_compiler_s_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def pip(argv: Sequence[str], way_out: str) -> str:
        asked.append(words := [*argv])
        if "download" in words:
            with zipfile.ZipFile(Path(words[words.index("--dest") + 1]) / "a.whl", "w") as wheel:
                wheel.writestr("tvm/lib/libtvm_runtime.so", b"runtime")
                wheel.writestr("tvm/lib/libtvm_compiler.so", b"large")
        return ""

    monkeypatch.setattr(tvm, "step", pip)
    (tmp_path / "tvm").mkdir()
    fetch_tvm(tmp_path / "tvm", VERSIONS, ["--platform", "here"])
    install, download = asked
    assert install[-2:] == ["apache-tvm-ffi==0.1", "typing_extensions==4.16"]
    assert download[-1] == "apache-tvm==0.27"
    assert all("--no-deps" in words and "here" in words for words in asked)
    assert [path.name for path in (tmp_path / "tvm").iterdir()] == ["libtvm_runtime.so"]
    assert [path.name for path in tmp_path.iterdir()] == ["tvm"], "the wheel is gone"


def test_no_wheel_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm, "step", lambda *_: "")
    with pytest.raises(DeviceError, match="no wheel of apache-tvm"):
        fetch_tvm(tmp_path / "tvm", VERSIONS, [])
