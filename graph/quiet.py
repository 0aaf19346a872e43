"""Silence for torch's own logging where what it says is not for our user.

torch.export and torch.export.load log graph dumps, tracebacks and deprecations of their own that no user can act
on; what went wrong reaches the user as an exception instead.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No log lines, warnings or text on stderr from the body; exceptions pass."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
