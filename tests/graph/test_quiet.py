"""What torch logs inside stays inside; what it raises does not."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from compressor.graph.quiet import quiet


def test_no_log_line_warning_or_stderr_text_gets_out(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        logging.getLogger("torch.export").error("graph dump")
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
        print("noise", file=sys.stderr)
    assert capsys.readouterr().err == ""


def test_level_is_restored_and_exceptions_pass() -> None:
    level = logging.getLogger("torch").level
    with pytest.raises(ValueError, match="real"), quiet():
        raise ValueError("real")
    assert logging.getLogger("torch").level == level
