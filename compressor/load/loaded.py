"""What loading gives: a module, an already captured program, or a way to make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from compressor.graph.capture import Captured
    from compressor.graph.program import Program

__all__ = ["Converter", "Loaded"]

Converter = Callable[..., "Captured"]  # (args, kwargs, synthetic), and `growing` where there is a cache


@dataclass(frozen=True)
class Loaded:
    """A loaded model.

    `kind` is what the file was, in words. Exactly one of `module` (a Python model), `program` (already captured) and
    `convert` (called with args, kwargs and `synthetic`) leads to a program, except that a module may bring its own
    `convert`. `example` holds positional and keyword inputs, where the file itself tells what they are.
    `companions` are files that go into the bundle as they are (a tokenizer), `ends` token ids that end a text.
    """

    name: str
    kind: str
    module: nn.Module | None = None
    program: Program | None = None
    example: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()
    convert: Converter | None = None
    companions: Mapping[str, Path] = field(default_factory=dict)
    ends: tuple[int, ...] = ()
