"""What a job's record is of: its options, and the content of what they name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from listed import listed

from compressor.errors import InputError, OutputError
from compressor.jobs.document import Job
from compressor.jobs.records import FOLDER, begun, described, digest_of, read, write, write_whole
from compressor.request import Request


def _request(folder: Path) -> Request:
    listed(folder)
    return Request(str(folder / "a.pt"), "host", latency="0.5x")


def test_a_digest_is_of_options_and_content(tmp_path: Path) -> None:
    request = _request(tmp_path)
    digest, model = digest_of(request)
    assert digest_of(replace(request, out=Path("elsewhere"), force=True, no_cache=True)) == (digest, model)
    assert digest_of(replace(request, latency="0.6x"))[0] != digest
    (tmp_path / "a.pt").write_text("trained further")
    changed, other = digest_of(request)
    assert changed != digest
    assert other != model


def test_a_folder_and_a_function_count_by_their_content(tmp_path: Path) -> None:
    folder, metric = tmp_path / "hf", tmp_path / "metric.py"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    metric.write_text("def score(outputs, labels): ...\n")
    request = Request(folder, "host", metric=f"{metric}:score")
    first = digest_of(request)
    metric.write_text("def score(outputs, labels): return 1.0\n")
    second = digest_of(request)
    (folder / "weights.safetensors").write_text("w")
    assert len({first[0], second[0], digest_of(request)[0]}) == 3
    assert first[1] == second[1] != digest_of(request)[1]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MODEL: no such file"):
        digest_of(Request(tmp_path / "none.pt", "host"))
    with pytest.raises(InputError, match=r"--data: no such file"):
        digest_of(replace(_request(tmp_path), data=str(tmp_path / "none.npz")))


def test_there_and_back(tmp_path: Path) -> None:
    record = begun(Job("one", _request(tmp_path)))
    assert read(tmp_path, "one") is None
    write(tmp_path, record)
    assert read(tmp_path, "one") == record
    assert record.request == described(_request(tmp_path))
    (tmp_path / FOLDER / "one.json").write_text('{"name"')
    assert read(tmp_path, "one") is None


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(tmp_path / "file" / "jobs.json", {})
