"""Whose line an exception came from: the user's innermost frame, and torch's own layer when it raised below that."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

__all__ = ["depends_on_data", "first_line", "torch_layer", "user_line"]

_TORCH = Path(torch.__file__).resolve().parent
_OURS = Path(__file__).resolve().parent


def user_line(error: BaseException) -> str:
    """`file.py:12 `code`` of the innermost frame that belongs neither to torch nor to this package, or ""."""
    for frame in _frames(error):
        path = Path(frame.filename).resolve()
        if path.exists() and not {_TORCH, _OURS} & {*path.parents}:
            return _shown(frame)
    return ""


def torch_layer(error: BaseException) -> str:
    """The line in `torch.nn`, when a layer of torch's own raised below the user's frame, or ""."""
    layers = _TORCH / "nn"
    for frame in _frames(error):
        path = Path(frame.filename).resolve()
        if layers in path.parents and path.name != "module.py":
            return _shown(frame)
        if path.exists() and not {_TORCH, _OURS} & {*path.parents}:
            return ""
    return ""


def first_line(error: BaseException) -> str:
    """What the error says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def depends_on_data(error: BaseException) -> bool:
    """Whether tracing stopped because Python needed a value that only data has."""
    return "data-dependent" in str(error) or type(error).__name__ == "GuardOnDataDependentSymNode"


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Innermost first."""
    return list(reversed(traceback.extract_tb(error.__traceback__)))


def _shown(frame: traceback.FrameSummary) -> str:
    code = f" `{frame.line}`" if frame.line else ""
    return f"{Path(frame.filename).name}:{frame.lineno}{code}"
