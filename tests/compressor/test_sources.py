"""Reading `--data`: every format, and files that are damaged or hostile."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import InputError, UntrustedError, UserError
from compressor.sources import open_source


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_npz(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4))
    big = np.arange(3, dtype=">i4")
    np.savez_compressed(tmp_path / "d.npz", x=x, big=big, **{"calibration/x": x[:1]})  # type: ignore[arg-type]
    source = open_source(tmp_path / "d.npz")
    (item,) = source.items
    np.testing.assert_array_equal(item["x"].numpy(), x)
    assert item["big"].tolist() == [0, 1, 2]
    assert list(source.calibration) == ["x"]
    assert source.calibration["x"].shape == (1, 4)


def test_folder_is_mapped_and_never_written(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "calibration").mkdir()
    for name in ("x", "d.a", "calibration/x"):
        np.save(tmp_path / f"{name}.npy", x)
    source = open_source(str(tmp_path))
    (item,) = source.items
    assert sorted(item) == ["d.a", "x"]
    item["x"][0] = 100
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x)
    assert list(source.calibration) == ["x"]


def test_single_array_whatever_its_suffix(tmp_path: Path) -> None:
    with (tmp_path / "array.dat").open("wb") as file:
        np.save(file, np.ones((2, 3), np.float32))
    (item,) = open_source(tmp_path / "array.dat").items
    assert item.shape == (2, 3)


def test_function_file(tmp_path: Path) -> None:
    function = "def f():\n    yield [1.0]\n    raise KeyError('gone')\n"
    (tmp_path / "mine.py").write_text(f"{function}def d():\n    return {{'x': 1}}\n")
    reading = iter(open_source(f"{tmp_path / 'mine.py'}:f").items)
    assert next(reading) == [1.0]
    with pytest.raises(InputError, match="KeyError") as caught:
        next(reading)
    assert "mine.py:3" in caught.value.where
    assert list(open_source(f"{tmp_path / 'mine.py'}:d").items) == [{"x": 1}]


def test_python_objects() -> None:
    (item,) = open_source({"x": np.ones(3), "y": torch.ones(3), "z": [1, 2, 3]}).items
    assert [tensor.dtype for tensor in item.values()] == [torch.float64, torch.float32, torch.int64]
    source = open_source([torch.ones(2)])
    assert len(list(source.items)) == len(list(source.items)) == 1
    with pytest.raises(InputError, match="cannot be read twice"):
        open_source(iter([1]))
    with pytest.raises(InputError, match="cannot be read twice"):
        open_source(3)


@pytest.mark.parametrize("kind", ["npz", "npy", "folder"])
def test_arrays_of_objects_are_refused_unread(tmp_path: Path, kind: str) -> None:
    array = np.array([Bomb(tmp_path / "pwned")], dtype=object)
    path = tmp_path / ("d.npz" if kind == "npz" else "data/x.npy")
    path.parent.mkdir(exist_ok=True)
    if kind == "npz":
        np.savez(path, x=array)
    else:
        np.save(path, array)
    with pytest.raises(UntrustedError, match="execute code"):
        open_source(path.parent if kind == "folder" else path)
    assert not (tmp_path / "pwned").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "p.npz"
    pickled.write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    empty = tmp_path / "e.npz"
    empty.touch()
    torch.save({"x": torch.ones(2)}, tmp_path / "t.npz")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "text.npz", x=np.array(["a"]))
    np.savez(tmp_path / "none.npz")
    for name, what in {
        "p.npz": "neither", "e.npz": "empty", "t.npz": "not an array", "folder": "no .npy", "gone.npz": "no such",
        "text.npz": "plain numbers", "none.npz": "no arrays",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=what):
            open_source(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_header_that_claims_too_much_allocates_nothing(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue() + b"\0" * 64)
    with pytest.raises(InputError, match="cut short"):
        open_source(tmp_path / "d.npz")
    (tmp_path / "x.npy").write_bytes(content.getvalue() + b"\0" * 64)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(tmp_path / "x.npy")


@pytest.fixture(scope="module")
def archive() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, x=np.arange(40, dtype=np.float32), labels=np.arange(40))
    return content.getvalue()


def changes() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes(), cut=st.integers(1, 2000))
def test_damaged_archives_never_fail_otherwise(
    tmp_path: Path, archive: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(archive)
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path / "d.npz"
    path.write_bytes(content[:cut] if cut % 3 == 0 else content)
    try:
        source = open_source(path)
    except UserError:
        return
    assert all(isinstance(item, dict) for item in source.items)


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "pwned").exists()
