"""Files on their way."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from compressor.devices.files import finished_pull, size_of, write_tar
from compressor.errors import DeviceError


def test_a_pull_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before", encoding="utf-8")
    with pytest.raises(KeyError), finished_pull(tmp_path / "file") as (_, stream):  # noqa: PT012
        stream.write(b"half")
        raise KeyError
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("file", "before")]
    with pytest.raises(DeviceError, match="cannot be written"), finished_pull(tmp_path / "no" / "file"):
        pytest.fail("there is no such folder")


def test_a_tar_follows_links_and_names_no_owner(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "run").write_bytes(b"#!")
    os.chmod(tmp_path / "source" / "run", 0o755)
    (tmp_path / "source" / "link").symlink_to("run")
    stream = io.BytesIO()
    write_tar(stream, tmp_path / "source", "-name")
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert sorted(members) == ["./-name", "./-name/link", "./-name/run"]
    assert all(member.isfile() for name, member in members.items() if name != "./-name")
    assert members["./-name/run"].mode & 0o777 == 0o755
    assert {(member.uid, member.uname) for member in members.values()} == {(0, "")}


def test_a_size_is_that_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"67")
    assert (size_of(tmp_path), size_of(tmp_path / "b")) == (7, 2)
    with pytest.raises(DeviceError, match="cannot be read"):
        size_of(tmp_path / "missing")
