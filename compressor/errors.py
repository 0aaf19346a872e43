"""The error tree. Every error that reaches a user is one of these, and owns its exit code.

    CompressError                 exit 1   something failed
    ├── UserError                 exit 2   the user can mend it
    │   ├── LoadError                      the model file cannot be read as a model
    │   │   └── UntrustedError             reading it would execute code from the file
    │   ├── InputError                     inputs, data or metric do not fit the model
    │   ├── CaptureError                   the model's Python cannot be captured as a graph
    │   ├── TargetError                    unknown or malformed target
    │   ├── RecipeError                    malformed pass list or recipe
    │   ├── UnsupportedError               no runtime of the target has this operator
    │   ├── OutputError                    the result cannot be written where it was asked for
    │   └── DeviceError                    a device cannot be reached, or lacks what is needed
    ├── DeviceLostError           exit 1   a device stopped answering; what it had done is kept
    ├── PassError                          a pass broke the program
    ├── ExportError                        lowering failed
    └── MismatchError                      the artifact disagrees with the PyTorch program

An error says what was wrong, where, and the way out. This module imports nothing; every folder may import it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CaptureError", "CompressError", "DeviceError", "DeviceLostError", "ExportError", "InputError", "LoadError",
    "MismatchError", "OutputError", "PassError", "RecipeError", "TargetError", "UnsupportedError", "UntrustedError",
    "UserError", "did_you_mean",
]  # fmt: skip


class CompressError(Exception):
    """Something failed. `what` happened, `where` (a file, layer or option), and the `way_out`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", way_out: str = "") -> None:
        self.what, self.where, self.way_out = what, where, way_out
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.way_out}" if self.way_out else text


class UserError(CompressError):
    """The user can mend it."""

    exit_code = 2


class LoadError(UserError):
    """The model file cannot be read as a model."""


class UntrustedError(LoadError):
    """Reading the file would execute code from it."""


class InputError(UserError):
    """Inputs, data or metric do not fit the model."""


class CaptureError(UserError):
    """The model's Python cannot be captured as a graph."""


class TargetError(UserError):
    """Unknown or malformed target."""


class RecipeError(UserError):
    """Malformed pass list or recipe."""


class UnsupportedError(UserError):
    """No runtime of the target has this operator."""


class OutputError(UserError):
    """The result cannot be written where it was asked for."""


class DeviceError(UserError):
    """A device cannot be reached, or lacks what is needed."""


class DeviceLostError(CompressError):
    """A device stopped answering in the middle of something; what it had done is kept."""


class PassError(CompressError):
    """A pass broke the program."""


class ExportError(CompressError):
    """Lowering failed."""


class MismatchError(CompressError):
    """The artifact disagrees with the PyTorch program."""


def did_you_mean(word: str, known: list[str]) -> str:
    """The closest known words as a hint, or the whole list when nothing is close."""
    import difflib

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(sorted(known))}."
