"""Makes hostile files out of honest ones. Each that would execute something would create the file `canary`."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["Bomb", "edit_model", "payload", "pickled", "plain_pickle", "rewrite", "small_pt2", "with_record"]


class Bomb:
    """An object whose unpickling creates `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + x.shape[0]


def small_pt2(path: Path) -> Path:
    """An honest archive with a dynamic batch."""
    exported = torch.export.export(
        _Small(), (torch.randn(2, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False
    )
    with path.open("wb") as file:
        torch.export.save(exported, file)
    return path


def payload(canary: Path) -> str:
    """Python text that creates `canary` when evaluated."""
    return f"__import__('os').system('touch {canary}')"


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy a zip, each entry's bytes through `change(name without the first component, bytes)`; None drops it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = change(entry.filename.partition("/")[2], old.read(entry))
            if content is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), content)
    return target


def with_record(source: Path, target: Path, records: Mapping[str, bytes]) -> Path:
    """Copy a zip with entries (named without the first component) added or replaced."""
    rewrite(source, target, lambda name, content: None if name in records else content)
    with zipfile.ZipFile(source) as old:
        root = old.namelist()[0].partition("/")[0]
    with zipfile.ZipFile(target, "a") as new:
        for name, content in records.items():
            new.writestr(f"{root}/{name}", content)
    return target


def edit_model(source: Path, target: Path, edit: Callable[[Any], None]) -> Path:
    """Copy a `.pt2` with the JSON of its program changed in place by `edit`."""

    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        model = json.loads(content)
        edit(model)
        return json.dumps(model).encode()

    return rewrite(source, target, change)


def pickled(thing: Any) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def plain_pickle(thing: Any) -> bytes:
    """A bare pickle."""
    return pickle.dumps(thing, protocol=2)
