"""What a terminal would obey is not printed."""

from __future__ import annotations

from compressor.cli.shown import shown


def test_only_control_characters_go() -> None:
    assert shown("a\n\tß ☃\x1b[2J\x07\r\udc80") == "a\n\tß ☃?[2J???"
