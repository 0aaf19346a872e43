"""Runners on a device: pushed into a folder of its own there, asked for tasks, and listened to line by line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.devices.device import Device, Finished
from compressor.devices.events import sound, subjects
from compressor.devices.journal import FOLDER, Journal
from compressor.devices.runners import PYTHON, Runner
from compressor.errors import CompressError, DeviceError, ExportError, OutputError, UnsupportedError
from compressor.export.atomic import alive

__all__ = ["LOOK", "Remote", "failure", "on_device"]

_SLOWEST = 100e3  # bytes a second that a connection is trusted with when a push is given its time
_SHOWN = 200  # characters of a line
LOOK = "Look at the device: its memory, its disk, and what else prints to the runner's output."
_ILLEGAL = (132, -4)
_KILLED = (137, -9)  # what is left of a process that the system killed: where memory ran out, as a rule


class Remote:
    """A folder on a device with runners in it. Paths in jobs are relative to it."""

    def __init__(self, device: Device, folder: str, runners: Sequence[Runner] = (PYTHON,)) -> None:
        self.device, self.folder, self._jobs = device, folder, 0
        for runner in runners:
            with tempfile.TemporaryDirectory() as staged:
                runner.put(Path(staged) / runner.name)
                device.push(Path(staged) / runner.name, f"{folder}/{runner.name}")

    def push(self, name: str, files: Mapping[str, Path]) -> None:
        """Push files as one folder `name`. Raises OutputError where this machine has no room to put them together."""
        with tempfile.TemporaryDirectory() as staged:
            folder = Path(staged) / name
            folder.mkdir()
            try:
                for file, source in files.items():
                    _link(source, folder / file)
                size = sum(source.stat().st_size for source in files.values())
            except OSError as error:
                raise OutputError(
                    f"cannot be copied for pushing: {error.strerror}", where=str(error.filename or name),
                    way_out="Free space in the folder for temporary files, or set TMPDIR to one on the same disk.",
                ) from error  # fmt: skip
            self.device.push(folder, f"{self.folder}/{name}", timeout=max(600.0, size / _SLOWEST))

    def run(
        self,
        task: str,
        jobs: Sequence[Mapping[str, Any]],
        *,
        timeout: float,
        on_event: Callable[[dict[str, Any]], None],
        environment: Mapping[str, str] | None = None,
        runner: Runner = PYTHON,
        **settings: Any,
    ) -> None:
        """Run one task of a runner that is there to its end; each event is handed on as it comes. `timeout` in seconds.

        Raises DeviceError where the device has no runtime, the runner ends before it is done or says what none would,
        DeviceLostError as `Device.run` does.
        """
        self._jobs += 1
        place = f"{self.folder}/jobs-{self._jobs}"  # beside the models: their paths are relative to it
        with tempfile.TemporaryDirectory() as staged:
            document = Path(staged) / "jobs"
            document.write_text(runner.document({**settings, "jobs": list(jobs)}), encoding="utf-8")
            self.device.push(document, place)
        last: dict[str, Any] = {}
        known = {str(job.get("id", index)) for index, job in enumerate(jobs)}

        def listen(line: str) -> None:
            event = _event(line)
            if event is not None:
                if not sound(event) or not subjects(event) <= known:
                    raise self._senseless(line)
                last.clear()
                last.update(event)
                if event["event"] not in ("done", "missing"):
                    on_event(event)

        command = [*runner.command(self.device, f"{self.folder}/{runner.name}"), task, place]
        finished = self.device.run(command, timeout=timeout, environment=environment, on_line=listen)
        if last.get("event") != "done" or finished.status != 0:
            raise self._ended(finished, last, runner)

    def _senseless(self, line: str) -> DeviceError:
        return DeviceError(
            f"its runner says what makes no sense: {line[:_SHOWN]!r}", where=self.device.url,
            way_out=LOOK,
        )  # fmt: skip

    def _ended(self, finished: Finished, last: Mapping[str, Any], runner: Runner) -> DeviceError:
        where = self.device.url
        if last.get("event") == "missing":
            package = last.get("package")
            return DeviceError(
                f"its Python has no {package} ({last.get('reason')})", where=where,
                way_out="There: python3 -m venv venv && venv/bin/pip install onnxruntime numpy (`compress targets "
                "NAME` says which build), then ?python=PATH of its Python at the end of the URL.",
            )  # fmt: skip
        if finished.status in _KILLED:
            return DeviceError(
                "the system there killed the runner", where=where,
                way_out="It ran out of memory, as a rule: give fewer bundles in one call, or a smaller model.",
            )  # fmt: skip
        if finished.status in _ILLEGAL:
            return DeviceError(
                "its processor lacks an instruction that the bundle was compiled to", where=where,
                way_out="A bundle for `host` runs on processors like the one it was made on: compress for the board.",
            )  # fmt: skip
        lines = [line for line in finished.stderr.strip().splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else "it wrote no reason"
        return DeviceError(
            f"the runner ended with status {finished.status}: {reason}", where=where,
            way_out=runner.needs(self.device),
        )  # fmt: skip


@contextlib.contextmanager
def on_device(
    device: Device, journal: Journal | None = None, runners: Sequence[Runner] = (PYTHON,)
) -> Iterator[Remote]:
    """The runners in a new folder there, which is removed at the end.

    Where the device is lost nobody can remove it: the run that goes on with `journal` does.
    """
    with device.folder() as folder:
        if journal is not None:
            for left in journal.named(FOLDER):
                if left["process"] == os.getpid() or not alive(left["process"]):
                    with contextlib.suppress(DeviceError):  # what refuses to go only takes room
                        device.discard(left["path"])
            journal.add({"event": FOLDER, "path": folder, "process": os.getpid()})
        yield Remote(device, folder, runners)


def failure(event: Mapping[str, Any], what: str, device: str) -> CompressError:
    """A job's `failed` event as the error that says it."""
    reason, where = event.get("reason"), f"{what} on {device}"
    if event.get("kind") == "unsupported":
        return UnsupportedError(
            f"the runtime there has no kernel: {reason}", where=where,
            way_out="Install a newer onnxruntime there, or compress for the target that the board is.",
        )  # fmt: skip
    if event.get("kind") == "load":
        return ExportError(
            f"the runtime there cannot load it: {reason}", where=where,
            way_out="Is the onnxruntime there as new as the target's? `compress targets NAME` says which it should be.",
        )  # fmt: skip
    if event.get("kind") == "count":
        way_out = "Run `compress devices setup qemu --force`."
        return DeviceError(f"instructions were not counted: {reason}", where=where, way_out=way_out)
    return ExportError(f"it does not run: {reason}", where=where)


def _event(line: str) -> dict[str, Any] | None:
    """An event, or None for what a library has printed."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _link(source: Path, place: Path) -> None:
    """The same file under another name where the file system can, else a copy."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
