from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from compressor.errors import OutputError
from compressor.export import atomic
from compressor.export.atomic import ensure_writable, new_folder


def bundle(out: Path, text: str) -> None:
    out.mkdir()
    (out / "manifest.json").write_text(text)


def write(out: Path, text: str, *, force: bool = False) -> None:
    with new_folder(out, force=force) as folder:
        (folder / "manifest.json").write_text(text)


def test_appears_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failing_body_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "out", force=False) as folder:
            (folder / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_unless_forced(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="exists") as caught:
        write(tmp_path / "out", "new")
    assert "--force" in str(caught.value)
    assert (tmp_path / "out" / "manifest.json").read_text() == "old"
    write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_old_bundle_survives_a_failure_under_force(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out", force=True):
        raise ZeroDivisionError
    assert (tmp_path / "out" / "manifest.json").read_text() == "old"


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no bundle"):
        write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        ensure_writable(tmp_path / "out", force=True)


def test_a_missing_parent_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        ensure_writable(tmp_path / "no" / "out", force=False)


def test_a_read_only_parent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(OutputError, match="cannot be written"):
        ensure_writable(tmp_path / "out", force=False)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    def full() -> None:
        with new_folder(tmp_path / "out", force=False) as folder:
            (folder / "half").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match="No space left"):
        full()
    assert list(tmp_path.iterdir()) == []


def test_without_an_exchange_the_old_folder_is_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    bundle(tmp_path / "out", "old")
    write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead, alive = tmp_path / f".out.{dead_process()}.tmp", tmp_path / f".out.{os.getppid()}.tmp"
    dead.mkdir()
    alive.mkdir()
    ensure_writable(tmp_path / "out", force=False)
    assert not dead.exists()
    assert alive.exists()


def test_an_old_bundle_left_aside_by_the_dead_is_put_back(tmp_path: Path) -> None:
    bundle(tmp_path / f".out.{dead_process()}.old", "old")
    with pytest.raises(OutputError, match="exists"):
        ensure_writable(tmp_path / "out", force=False)
    assert (tmp_path / "out" / "manifest.json").read_text() == "old"


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from compressor.export import atomic

    out, step = Path(sys.argv[1]), sys.argv[2]
    kill = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    if step == "exchange":
        atomic._exchange = lambda first, second: False
        atomic.shutil.rmtree = kill
    elif step != "body":
        setattr(atomic, step, kill)
    with atomic.new_folder(out, force=True) as folder:
        (folder / "manifest.json").write_text("new")
        if step == "body":
            kill()
"""


@pytest.mark.parametrize("step", ["body", "_sync", "_install", "_sync_folder", "exchange"])
def test_a_kill_at_any_step_leaves_one_whole_bundle(tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    bundle(out, "old")
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(out), step], check=False)
    assert result.returncode == -signal.SIGKILL
    assert (out / "manifest.json").read_text() in ("old", "new")
    with pytest.raises(OutputError, match="exists"):
        ensure_writable(out, force=False)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
