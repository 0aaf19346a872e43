"""Instructions that this thread executes, counted by the emulator that it runs in, where that counts.

    MARK(1) ─▶ runs ─▶ MARK(0)        the emulator appends a line, the count, to the file that COUNTS names

MARK is a system call that no kernel has (`emulation/count.c`): anywhere else it is refused and does nothing. The count
holds the call from Python as well, some tens of thousands of instructions, and those of no other thread.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable

__all__ = ["COUNTS", "MARK", "NotCountedError", "counted"]

COUNTS = "COMPRESS_COUNTS"  # the environment's name for the file
MARK = 25454


class NotCountedError(Exception):
    """Nothing counts here."""


def counted(run: Callable[[], object], runs: int) -> int:
    """The instructions of so many calls together. Raises NotCountedError, and what `run` raises."""
    path = os.environ.get(COUNTS)
    if not path:
        raise NotCountedError(f"{COUNTS} names no file")
    mark = ctypes.CDLL(None).syscall
    mark(MARK, 0)  # the first call looks the function up
    start = os.path.getsize(path) if os.path.exists(path) else 0
    gc.disable()  # a collection falls on whichever run it likes
    try:
        mark(MARK, 1)
        for _ in range(runs):
            run()
        mark(MARK, 0)
    finally:
        gc.enable()
    return _last(path, start)


def _last(path: str, start: int) -> int:
    """The count that was appended from `start` bytes on."""
    try:
        with open(path, encoding="ascii") as file:
            file.seek(start)
            words = file.read().split()
    except OSError:
        words = []
    if len(words) != 1 or not words[0].isdigit():
        raise NotCountedError("the emulator wrote no count")
    return int(words[0])
