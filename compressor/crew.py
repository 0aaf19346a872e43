"""Several processes or machines, started by `torchrun`: the first does the job, the others help where weights train.

    torchrun --nproc-per-node 2 -m compressor MODEL --target T --recover 5min

Every process loads the model and the data for itself. Before a pass that trains, the first tells the others which pass
runs on which program; all run it together, and only the first keeps the result, writes files and speaks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator

from torch import distributed

from compressor.errors import CompressError
from compressor.graph import storage
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.recover import connect
from compressor.passlist import PassSpec

__all__ = ["Announce", "announcing", "help_out", "is_helper"]

Announce = Callable[[PassSpec, tuple[str, ...], Program], None]
_LENGTH = 8  # bytes that say how long the description is


def is_helper() -> bool:
    """Whether `torchrun` started this process, and not as the first."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"


@contextlib.contextmanager
def announcing() -> Iterator[Announce | None]:
    """How the first process tells the others of a pass; None where it is alone. At the end they are let go."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield None
        return
    ranks = connect()

    def announce(spec: PassSpec, keep: tuple[str, ...], program: Program) -> None:
        ranks.bytes_of_first(_packed(spec, keep, program))

    try:
        yield announce
        ranks.bytes_of_first(b"")
    except CompressError:
        ranks.bytes_of_first(b"")
        raise
    finally:
        distributed.destroy_process_group()


def help_out(context: Context) -> None:
    """Run what the first process announces until it lets go. What fails here fails there, and is told there."""
    ranks = connect()
    try:
        while content := ranks.bytes_of_first(b""):
            spec, keep, program = _unpacked(content)
            with contextlib.suppress(CompressError):
                spec.build(keep).run(program, context)
    finally:
        distributed.destroy_process_group()


def _packed(spec: PassSpec, keep: tuple[str, ...], program: Program) -> bytes:
    said = {"name": spec.name, "options": dict(spec.options), "keep": keep}
    text = json.dumps({**said, "sites": {site: dict(setting) for site, setting in spec.sites.items()}}).encode()
    file = io.BytesIO()
    storage.save_file(program, file)
    return len(text).to_bytes(_LENGTH, "big") + text + file.getvalue()


def _unpacked(content: bytes) -> tuple[PassSpec, tuple[str, ...], Program]:
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
    said = json.loads(content[_LENGTH:end])
    spec = PassSpec(said["name"], said["options"], said["sites"])
    return spec, tuple(said["keep"]), storage.load_file(io.BytesIO(content[end:]), "the first process's program")
