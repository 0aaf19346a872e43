"""Checkpoints are whole, belong to one run, and execute nothing."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch

from compressor.passes.recover.checkpoint import VERSION, identity, read_checkpoint, write_checkpoint

STATE = {"step": 3, "weights": {"w": torch.ones(2)}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "c.pt"
    assert write_checkpoint(path, "key", dict(STATE))
    state = read_checkpoint(path, "key")
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["weights"]["w"], torch.ones(2))
    assert [file.name for file in path.parent.iterdir()] == ["c.pt"]


def test_another_runs_checkpoint_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    write_checkpoint(path, identity("a", 1), dict(STATE))
    assert read_checkpoint(path, identity("a", 2)) is None
    assert read_checkpoint(path, identity("a", 1)) is not None


def test_missing_or_damaged_ones_are_not_either(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    assert read_checkpoint(path, "key") is None
    assert read_checkpoint(None, "key") is None
    write_checkpoint(path, "key", dict(STATE))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    place = whole.index(torch.ones(2).numpy().tobytes())
    flipped[place : place + 4] = b"\xff" * 4
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x80" + whole, bytes(flipped)):
        path.write_bytes(content)
        assert read_checkpoint(path, "key") is None


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_it_is_executed(tmp_path: Path, capsys: object) -> None:
    path = tmp_path / "c.pt"
    evil = {"version": VERSION, "identity": "key", "state": {"x": Evil()}}
    torch.save(evil, path)
    for content in (path.read_bytes(), pickle.dumps(evil)):
        path.write_bytes(content + hashlib.sha256(content).digest())
        assert read_checkpoint(path, "key") is None
    path.write_bytes(pickle.dumps(evil))
    assert read_checkpoint(path, "key") is None
    assert "executed" not in capsys.readouterr().out  # type: ignore[attr-defined]


def test_a_disk_that_refuses_costs_only_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not write_checkpoint(tmp_path / "file" / "c.pt", "key", dict(STATE))
