"""torch's table of ONNX translations, built once an opset and set of operators instead of once an export.

`torch.onnx.export` inspects the signatures of its thousand translations in every call, longer than it takes to lower
a small model. Inside `one_registry` each call gets a copy of the first table; where torch has moved it, nothing
changes but the time. The table holds translations of registered operators only, so an import that registers more
(torchvision's, `quantized_decomposed`'s) has a table of its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
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


@functools.lru_cache(maxsize=4)
def _table(opset_version: int, registered: frozenset[str]) -> Any:
    """The table for an opset, valid as long as the operators that torch knows are the ones in `registered`."""
    return _build(opset_version=opset_version)


def _copied(opset_version: int) -> Any:
    """A registry of its own for each export, since custom translations are put into it."""
    table = _table(opset_version, frozenset(torch._C._dispatch_get_all_op_names()))
    registry = type(table)()
    vars(registry).update(vars(table))
    registry.functions = {target: list(found) for target, found in table.functions.items()}
    return registry
