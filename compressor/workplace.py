"""A temporary folder for one run, which goes when the run ends; one that was killed is tidied up after by the next.

<temporary folder>/compress-<process>-<random>
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["workplace"]


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """The folder. What processes that no longer run left behind is removed first."""
    for folder in Path(tempfile.gettempdir()).glob("compress-*-*"):
        if (found := re.fullmatch(r"compress-(\d+)-\w+", folder.name)) and _is_gone(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays
    with tempfile.TemporaryDirectory(prefix=f"compress-{os.getpid()}-") as name:
        yield Path(name)


def _is_gone(process: int) -> bool:
    if sys.platform == "win32":  # signal 0 ends the process there
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
