"""A lock is one process's, for as long as that process lives and no longer."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compressor.locks import held

HOLDER = """
import sys, time
from pathlib import Path
from compressor.locks import held

with held(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def test_a_second_process_waits_and_kill_9_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with held(path, wait=False) as ours:
            assert not ours
        waiting = threading.Event()
        threading.Thread(target=lambda: waiting.wait() and holder.send_signal(signal.SIGKILL)).start()
        with held(path, waiting=waiting.set) as ours:
            assert ours
            assert waiting.is_set()
            assert holder.wait() == -signal.SIGKILL


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), held(tmp_path / "lock"):
        raise OSError("of the block")
    with held(tmp_path / "lock", wait=False) as ours:
        assert ours


def test_a_lock_that_was_removed_is_none(tmp_path: Path) -> None:
    """Who waited for a file that its holder removed does not share it with who makes a new one."""
    path, taken, done = tmp_path / "lock", threading.Event(), threading.Event()

    def wait() -> None:
        with held(path, waiting=taken.set):
            done.wait()

    with held(path):
        other = threading.Thread(target=wait)
        other.start()
        taken.wait()
        path.unlink()
    for _ in range(200):
        with held(path, wait=False) as ours:
            if not ours:
                break
        other.join(0.02)
    assert not ours
    done.set()
    other.join()


def test_what_cannot_be_locked_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with held(tmp_path / "file" / "lock") as ours:
        assert ours
