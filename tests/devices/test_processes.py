"""Programs under a time-out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import IO

import pytest

from compressor.devices.processes import Lines, execute, kill_group
from compressor.errors import DeviceError, DeviceLostError


def _python(code: str, **options: object) -> tuple[int, str, str]:
    lines = Lines()
    ended = execute([sys.executable, "-c", code], on_stdout=lines.feed, **{"timeout": 60.0, **options})  # type: ignore[arg-type]
    lines.feed(b"", final=True)
    return ended.status, lines.text, ended.stderr


def test_lines_are_whole_however_the_bytes_are_cut() -> None:
    seen: list[str] = []
    lines = Lines(seen.append)
    for byte in "ä\n☃ 2\n\nend".encode():
        lines.feed(bytes([byte]))
    assert seen == ["ä", "☃ 2", ""]
    lines.feed(b"\xff", final=True)
    assert seen[-1] == "end\ufffd"
    assert lines.text == "ä\n☃ 2\n\nend\ufffd"


def test_what_writes_without_end_is_ended() -> None:
    lines = Lines(most=1000)
    with pytest.raises(DeviceError, match="without end"):
        execute([sys.executable, "-c", "while True: print('x' * 100)"], timeout=60, on_stdout=lines.feed)
    assert len(lines.text) <= 1000


def test_a_long_line_costs_no_more_than_its_length() -> None:
    seen: list[str] = []
    lines = Lines(seen.append)
    for _ in range(10_000):
        lines.feed(b"x" * 1000)
    lines.feed(b"\ny")
    lines.feed(b"", final=True)
    assert [len(line) for line in seen] == [10_000_000, 1]


def test_a_signal_is_told_as_a_shell_tells_it() -> None:
    assert _python("import os; os.kill(os.getpid(), 9)")[0] == 137


def test_what_is_fed_arrives_and_its_end_does_too() -> None:
    def feed(stream: IO[bytes]) -> None:
        for _ in range(100):
            stream.write(b"x" * 10_000)

    assert _python("import sys; print(len(sys.stdin.buffer.read()))", feed=feed)[1] == "1000000\n"


def test_without_feed_stdin_stays_open_and_empty() -> None:
    code = "import select, sys; print(select.select([sys.stdin], [], [], 0.3)[0])"
    assert _python(code)[1] == "[]\n"


def test_a_program_that_does_not_read_what_it_is_fed_is_no_error() -> None:
    assert _python("raise SystemExit(4)", feed=lambda stream: stream.write(b"x" * 10_000_000))[0] == 4


def test_what_feeding_raises_is_raised() -> None:
    def feed(stream: IO[bytes]) -> None:
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        _python("import sys; sys.stdin.read()", feed=feed)


def test_a_time_out_ends_children_that_hold_the_pipes() -> None:
    with pytest.raises(DeviceLostError, match="no answer within 1 s"):
        _python("import os, time; os.fork(); time.sleep(600)", timeout=1.0)
    for thread in threading.enumerate():
        if "_read" in thread.name:
            thread.join(30)  # it ends by itself: the pipe it reads has nobody left at the other end
            assert not thread.is_alive()


def test_endless_output_does_not_outlast_the_time_out() -> None:
    with pytest.raises(DeviceLostError):
        _python("import time\nwhile True: print('x' * 100, flush=True); time.sleep(0.001)", timeout=1.0)


def test_a_group_that_is_gone_can_be_killed_again() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    kill_group(process)
    assert process.returncode == 0


def test_what_cannot_be_started_has_a_shells_status(tmp_path: os.PathLike[str]) -> None:
    lines = Lines()
    assert execute(["no-such-program-of-ours"], timeout=5, on_stdout=lines.feed).status == 127
    assert execute([str(tmp_path)], timeout=5, on_stdout=lines.feed).status == 126
