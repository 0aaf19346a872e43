"""Lists of jobs for tests, and what takes the place of compressing: a bundle of one file, a failure, or a kill."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from reports import sample

from compressor.errors import LoadError
from compressor.outcome import Outcome
from compressor.request import Request

__all__ = ["MODELS", "PLACES", "listed", "pretend"]

_HERE = Path(__file__).resolve().parent
PLACES = os.pathsep.join([str(_HERE.parent), str(_HERE)])  # where other processes find the project, then this
MODELS = ("a.pt", "b.pt", "c.pt")


def listed(folder: Path, text: str = "") -> Path:
    """jobs.toml beside three models of no content to speak of: all for two boards, unless `text` says else."""
    for name in MODELS:
        (folder / name).write_text(name)
    path = folder / "jobs.toml"
    names = ", ".join(f'"{folder / name}"' for name in MODELS)
    path.write_text(text or f'[[job]]\nmodel = [{names}]\ntarget = ["jetson-orin-nano", "host"]\n')
    return path


def pretend(request: Request) -> Outcome:
    """A model's content is what becomes of it: "broken" fails, "faulty" is a fault of ours, "poor" ends with status 3,
    and "deadly" kills the process, the first time."""
    what, out = Path(str(request.model)).read_text(), request.out
    assert out is not None
    if what == "broken":
        raise LoadError("is no model", where=str(request.model))
    if what == "faulty":
        raise ZeroDivisionError("of ours")
    if what == "deadly" and not (mark := out.with_name(f"{out.name}.killed")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    assert request.force or not out.exists()
    out.mkdir(exist_ok=True)
    done = out / "manifest.json"
    times = json.loads(done.read_text())["times"] if done.exists() else 0
    done.write_text(json.dumps({"times": times + 1}))
    return Outcome(sample(), out, 3 if what == "poor" else 0)
