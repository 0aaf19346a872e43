"""The last finished round of a long pruning on disk, and the middle of a training, so that neither is repeated.

A round's program is written as `graph.storage` does, inside a checkpoint of `passes/recover`: whole or not at all, and
read without executing anything. What the key does not describe is not continued.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from compressor.errors import CompressError
from compressor.graph import storage
from compressor.graph.program import Program
from compressor.passes.recover.checkpoint import identity, read_checkpoint, write_checkpoint

__all__ = ["Resume"]


class Resume:
    """The rounds of one job. With no path nothing is kept."""

    def __init__(self, path: Path | None, *key: object) -> None:
        self.path, self.key = path, identity(*key)
        self.middle = None if path is None else path.with_name(f"{path.stem}-underway{path.suffix}")

    def save(self, number: int, program: Program) -> None:
        """Round `number` is finished, and this is what it left."""
        if self.path is not None:
            content = io.BytesIO()
            storage.save_file(program, content)
            data = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)
            write_checkpoint(self.path, self.key, {"number": number, "program": data})

    def load(self) -> tuple[int, Program] | None:
        """The last finished round and its program; None where there is none of this job."""
        state = read_checkpoint(self.path, self.key)
        if state is None:
            return None
        try:
            content = io.BytesIO(state["program"].numpy().tobytes())
            return int(state["number"]), storage.load_file(content, "a finished round")
        except (CompressError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def keep(self, state: dict[str, Any]) -> None:
        """The state of a training that is under way: tensors, numbers, and lists and dictionaries of them."""
        if self.middle is not None:
            write_checkpoint(self.middle, self.key, state)

    def kept(self) -> dict[str, Any] | None:
        """What `keep` wrote last; None where there is none of this job."""
        return read_checkpoint(self.middle, self.key)
