"""Bars are for people at a terminal; logs get lines."""

from __future__ import annotations

import io
import itertools
import sys

import pytest

from compressor.cli import progress
from compressor.cli.progress import Bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Bars().say("fold")
    assert capsys.readouterr() == ("", "· fold\n")


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Bars().over([1, 2, 3], "calibrating")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = itertools.count(0.0, 8.0)  # seconds that pass from item to item
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(Bars().over(range(7), "timing")) == list(range(7))
    assert capsys.readouterr().err == "· timing: 3 of 7\n· timing: 6 of 7\n"


def test_a_bar_counts_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(Bars().over([1, 2], "calibrating")) == [1, 2]
    assert "calibrating" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_figures_are_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Bars().figures("recover", 0.25, {"loss": 0.123456, "best": 2.0})
    assert capsys.readouterr().err == "  recover  25%: loss 0.1235, best 2\n"
