"""A model that another program runs, which this one times in turn with its own: `runner_tvm/main.cpp` is one.

    {"id": "1", "worker": {"program": "runner-tvm/runner", "document": "1/serve"}, "done": {…}}

The program is asked line by line over its stdin, and measures its runs itself: what lies between the two processes is
in no time. It ends when its stdin closes, with this process at the latest.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from .model import JobError
from .timing import Subject

__all__ = ["Worker"]


class Worker(Subject):
    """The model as what is timed, loaded and run once. Raises JobError."""

    def __init__(self, job: Mapping[str, Any], folder: str) -> None:
        done = job.get("done", {})
        super().__init__(
            self.once, int(done.get("runs", 0)), float(done.get("seconds", 0.0)), int(done.get("rounds", 0))
        )
        program, document = (os.path.join(folder, job["worker"][key]) for key in ("program", "document"))
        try:
            self.process = subprocess.Popen(
                [program, "serve", document], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise JobError("load", f"{job['worker']['program']} does not start: {error.strerror}") from error
        try:
            self._heard("ready")
        except JobError:
            self.close()
            raise

    def once(self) -> float:
        return float(self._asked("once")[0])

    def warm_up(self, seconds: float) -> None:
        self._asked(f"warm {seconds}")

    def block(self) -> list[float]:
        return self.had(self._asked("block"))

    def close(self) -> None:
        """End the program."""
        self.process.communicate()

    def _asked(self, line: str) -> list[float]:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            assert self.process.stdin is not None
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        times: list[float] = self._heard("times")["seconds"]
        return times

    def _heard(self, event: str) -> dict[str, Any]:
        """The program's next event, which has to be this one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise JobError("run", f"its process ended with status {self.process.wait()}")
        told: dict[str, Any] = json.loads(line)
        if told.get("event") != event:
            raise JobError(str(told.get("kind", "run")), told.get("reason", line))
        return told
