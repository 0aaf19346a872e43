"""torch's table of ONNX translations, built once an opset instead of once an export.

`torch.onnx.export` inspects the signatures of its thousand translations in every call, longer than it takes to lower
a small model. Inside `one_registry` each call gets a copy of the first table; where torch has moved it, nothing
changes but the time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch.onnx._internal.exporter import _registration

__all__ = ["one_registry"]

_build: Any = getattr(getattr(_registration, "ONNXRegistry", None), "from_torchlib", None)


@contextlib.contextmanager
def one_registry() -> Iterator[None]:
    """Exports inside share the table."""
    if _build is None:
        yield
        return
    with mock.patch.object(_registration.ONNXRegistry, "from_torchlib", staticmethod(_copied)):
        yield


@functools.cache
def _table(opset_version: int) -> Any:
    return _build(opset_version=opset_version)


def _copied(opset_version: int) -> Any:
    """A registry of its own for each export, since custom translations are put into it."""
    table = _table(opset_version)
    registry = type(table)()
    vars(registry).update(vars(table))
    registry.functions = {target: list(found) for target, found in table.functions.items()}
    return registry
