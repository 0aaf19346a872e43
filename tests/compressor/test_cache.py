"""Finished stages: whole or absent, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compressor.cache import Cache, Shelf, default_folder, file_digest


def test_an_entry_appears_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    key = cache.key("a", 1)
    assert cache.find(key) is None
    cache.store(key, lambda folder: (folder / "x").write_text("1") and None)
    found = cache.find(key)
    assert found is not None
    assert (found / "x").read_text() == "1"


def test_keys_tell_parts_apart() -> None:
    cache = Cache(None)
    assert cache.key("ab", "c") != cache.key("a", "bc")


def test_a_failing_write_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def full(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    cache.store("k", full)
    assert list(tmp_path.iterdir()) == []
    assert cache.folder is None  # and it does not try again


def test_the_oldest_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=25)
    for index in range(4):
        cache.store(f"k{index}", lambda folder: (folder / "x").write_bytes(b"0123456789") and None)
        if (tmp_path / f"k{index}").exists():
            os.utime(tmp_path / f"k{index}", (index, index))
    assert cache.size()[1] <= 25
    assert cache.find("k3") is not None
    assert cache.find("k0") is None


def test_clear_says_what_it_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    cache.store("k", lambda folder: (folder / "x").write_bytes(b"abc") and None)
    assert cache.clear() == (1, 3)
    assert cache.size() == (0, 0)


def test_no_folder_keeps_nothing() -> None:
    cache = Cache(None)
    cache.store("k", lambda folder: pytest.fail("must not be asked to write"))
    assert cache.find("k") is None


def test_the_environment_moves_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "stages"


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x").startswith("ba7816bf")


def test_a_stage_has_a_file_of_its_own_while_it_runs(tmp_path: Path) -> None:
    assert Cache(None).work("k") is None
    cache = Cache(tmp_path)
    path = cache.work("k")
    assert path is not None
    path.parent.mkdir()
    path.write_text("state")
    assert cache.find("k") is None
    cache.store("other", lambda folder: None)
    assert path.exists()
    cache.store("k", lambda folder: None)
    assert not path.exists()


def test_a_shelf_is_the_same_runs_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    shelf, other = Shelf(cache, "data 1"), Shelf(cache, "data 2")
    shelf.store("k", lambda folder: (folder / "x").write_text("1") and None)
    found = shelf.find("k")
    assert found is not None
    assert (found / "x").read_text() == "1"
    assert other.find("k") is None
