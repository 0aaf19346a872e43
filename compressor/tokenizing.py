"""Text to token ids and back by the `tokenizer.json` in a bundle, which is not trusted.

It is read by the package `tokenizers`; what that makes of a file that is none is told in a sentence. Padding and
truncation that a tokenizer was saved with are left out: a text that is gone on from is read as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.errors import InputError, LoadError

__all__ = ["TOKENIZER", "Tokenizer", "open_tokenizer"]

TOKENIZER = "tokenizer.json"
_LARGEST = 2**27  # bytes that are read; those of a quarter of a million tokens are 2**25


@dataclass(frozen=True)
class Tokenizer:
    """One of the package's, and how many tokens the model knows."""

    file: Path
    inner: Any
    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises InputError for a text that is none or has no token, LoadError where the tokenizer
        fails, or gives ids that the model does not have."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError("is no text in UTF-8", where="--prompt", way_out="Give it in UTF-8.") from error
        ids: list[int] = _guarded(self.file, lambda: self.inner.encode(text).ids)
        if not ids:
            raise InputError(
                "there is no text to go on from", where="--prompt",
                way_out="Give some, or the id that begins a text: --ids 1.",
            )  # fmt: skip
        if max(ids) >= self.vocabulary:
            raise LoadError(
                f"gives the token {max(ids)}, the model has {self.vocabulary}: it belongs to another model",
                where=str(self.file), way_out="Give token ids instead: --ids 1,2,3.",
            )  # fmt: skip
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids. Raises LoadError where the tokenizer fails."""
        text: str = _guarded(self.file, lambda: self.inner.decode(list(ids)))
        return text


def open_tokenizer(file: Path, vocabulary: int) -> Tokenizer | None:
    """The tokenizer in a file; None where the package is not installed. Raises LoadError for a file that is none."""
    try:
        import tokenizers
    except ImportError:
        return None
    if (size := file.stat().st_size) > _LARGEST:
        raise LoadError(f"is no tokenizer: {size / 2**20:.0f} MB are more than any has", where=str(file))
    inner = _guarded(file, lambda: tokenizers.Tokenizer.from_file(str(file)))
    inner.no_padding()
    inner.no_truncation()
    return Tokenizer(file, inner, vocabulary)


def _guarded(file: Path, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exceptions, and a panic of its Rust code is not even that
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LoadError(
            f"is no tokenizer: {reason}", where=str(file), way_out="Without it token ids do: --ids 1,2,3."
        ) from error
