"""Instructions that this thread executes, counted by the emulator that it runs in, where that counts.

    MARK(1) ─▶ runs ─▶ MARK(0)        the emulator appends a line, the count, to the file that COUNTS names

MARK is a system call that no kernel has (`emulation/count.c`): anywhere else it is refused and does nothing. The count
holds the call from Python as well, some tens of thousands of instructions, and those of no other thread.

What the runtime notes down of the time changes its heap, and with it how many instructions an allocation takes: counts
repeat to the last instruction only where the clock stands still.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable

__all__ = ["COUNTS", "MARK", "NotCountedError", "counted", "stop_clock"]

COUNTS = "COMPRESS_COUNTS"  # the environment's name for the file
MARK = 25454
# clock_gettime(which, time): mov x2, #1; stp x2, xzr, [time]; mov w0, #0; ret
_ONE_SECOND = b"".join(word.to_bytes(4, "little") for word in (0xD2800022, 0xA9007C22, 0x52800000, 0xD65F03C0))
_PAGE = 4096
_READ_WRITE_RUN = 7


class NotCountedError(Exception):
    """Nothing counts here."""


def stop_clock() -> None:
    """From now on every clock of this process says one second, where it is an emulated Arm core that counts."""
    if not os.environ.get(COUNTS) or os.uname().machine != "aarch64":
        return
    library = ctypes.CDLL(None)
    address = ctypes.cast(library.clock_gettime, ctypes.c_void_p).value or 0
    start = address // _PAGE * _PAGE
    if library.mprotect(ctypes.c_void_p(start), address + len(_ONE_SECOND) - start, _READ_WRITE_RUN) == 0:
        ctypes.memmove(address, _ONE_SECOND, len(_ONE_SECOND))


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
