"""Folders are looked at before, what the disk refuses is told, and half a network is none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from lowered_networks import small

from compressor.errors import OutputError
from compressor.profile_files import check_folder, found_again, told


def test_a_folder_is_there_or_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    check_folder(Path("c"))
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent" / "folder")
    for wrong in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "nowhere"):
        with pytest.raises(OutputError, match="cannot be written"):
            check_folder(wrong)


def test_what_the_disk_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), told(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_network_is_found_again_where_it_is_whole(tmp_path: Path) -> None:
    subject = small(tmp_path, "net")
    assert found_again(tmp_path, "net") == subject
    assert found_again(tmp_path, "absent") is None
    document = (tmp_path / "net.json").read_text()
    for damaged in (document[: len(document) // 2], "{}", "[]", '{"style": "s", "results": [], "calls": [{}]}', ""):
        (tmp_path / "net.json").write_text(damaged)
        assert found_again(tmp_path, "net") is None
    (tmp_path / "net.json").write_text(document)
    arrays = subject.inputs.read_bytes()
    subject.inputs.write_bytes(arrays[:50])
    assert found_again(tmp_path, "net") is None
    subject.inputs.write_bytes(arrays)
    subject.model.unlink()
    assert found_again(tmp_path, "net") is None
