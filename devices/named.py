"""The target that a bundle says it was made for. A bundle may come from anywhere: what it names is no file of ours."""

from __future__ import annotations

from typing import Any

from compressor.errors import TargetError
from compressor.targets import Target, load_target

__all__ = ["named_target"]


def named_target(name: Any) -> Target | None:
    """The target of that name; None for a private board, whose file is not here, for a path, and for no name at all."""
    if not isinstance(name, str) or name.endswith(".toml") or "/" in name or "\\" in name:
        return None
    try:
        return load_target(name)
    except TargetError:
        return None
