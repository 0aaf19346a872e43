"""Text for a terminal, which obeys control characters: a board, a bundle or a model may have said some of it."""

from __future__ import annotations

__all__ = ["shown"]


def shown(text: str) -> str:
    """The text with its lines and blanks, and "?" for every other control character or half of a character."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
