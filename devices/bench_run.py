"""One run on a device: what is to be done, in which order, and the events so far.

    push ─▶ check ─▶ load (each alone) ─▶ rounds (all together) ─▶ decode, energy (each alone; decoders, a sensor)
                 └─▶ count, in place of all these, where the device is emulated

Bundles are checked and loaded by the runner of their own kind. Where they are of several kinds, the one in Python times
them in turn, and starts the others' for their blocks.

Every event is kept as it comes. A run that goes on after the device was lost does only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compressor.devices.artifact import Kind, kind_of
from compressor.devices.counting import RUNS, environment
from compressor.devices.device import Description, Device
from compressor.devices.journal import Journal
from compressor.devices.remote import LOOK, Remote, failure, on_device
from compressor.devices.runners import PYTHON, Runner
from compressor.devices.side_by_side import LEAST_ROUNDS
from compressor.devices.stability import throttling
from compressor.devices.tvm_job import architecture_of
from compressor.errors import CompressError, DeviceError, MismatchError
from compressor.export.verify import LIBRARY, Contents
from compressor.graph.contract import Progress

__all__ = ["Limits", "Run"]

_START = 300.0  # seconds: a slow board's start of Python and the runtime; also what a session's optimization may take
_NOTHING: Mapping[str, float] = {"runs": 0, "seconds": 0.0, "rounds": 0}  # what a bundle has had at first
_EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}  # golden vectors are full float products; NVIDIA's libraries may round to TF32


@dataclass(frozen=True)
class Limits:
    """How long is measured. `seconds`, `runs` and `rounds` (fewer give no interval of 95%) are what each bundle has at
    least; `threads` 0: the board's cores."""

    seconds: float = 1.0
    runs: int = 50
    rounds: int = LEAST_ROUNDS
    warmup: float = 0.5
    energy: float = 2.0
    batch: int = 1
    threads: int = 0


class Run:
    """The bundles by the names of their jobs ("0", "1", …), and a journal of what was found."""

    def __init__(
        self, device: Device, description: Description, bundles: Sequence[Contents], limits: Limits,
        progress: Progress, folder: Path | None, *, allow_throttled: bool = False,
    ) -> None:  # fmt: skip
        self.allow_throttled = allow_throttled
        self.device, self.description, self.limits, self.progress = device, description, limits, progress
        self.bundles = {str(index): bundle for index, bundle in enumerate(bundles)}
        self.names = dict(zip(self.bundles, _names(bundles), strict=True))
        self.threads = limits.threads or description.cores
        self.kinds = {name: _fitted(bundle, device, description) for name, bundle in self.bundles.items()}
        own = {kind.runner.name: kind.runner for kind in self.kinds.values()}
        self.timer = next(iter(own.values())) if len(own) == 1 else PYTHON
        self.runners = list({**own, self.timer.name: self.timer}.values())
        self.timer.fits(device, description)
        key = _key(device, description, bundles, limits, self.runners)
        self.journal = Journal(None if folder is None else folder / f"{key}.jsonl")
        if self.journal.resumed:
            done = len(self.rounds())
            progress.say(f"going on where an earlier run was cut off: {done} rounds are there")

    def measure(self) -> None:
        """Do what is missing. Raises as `bench`."""
        with on_device(self.device, self.journal, self.runners) as remote:
            self.progress.say(f"pushing {len(self.bundles)} bundles to {self.device.url}")
            for name, bundle in self.bundles.items():
                with tempfile.TemporaryDirectory() as folder:
                    files = self.kinds[name].files(bundle, Path(folder), self.limits.batch, self.threads)
                    remote.push(name, files)
            self._check(remote)
            if self.description.timed:
                self._reject_throttled()  # before anything is timed in vain
                self._load(remote)
                self._time(remote)
                self._decode(remote)
                self._energy(remote)
                self._reject_throttled()
            elif self.description.counted:
                self._count(remote)

    def described(self) -> Mapping[str, Any]:
        """The board's versions, providers and sensor, of all runners together."""
        events = self.journal.named("description")
        return {name: value for event in events for name, value in event.items() if value is not None}

    def rounds(self) -> dict[int, dict[str, Any]]:
        """Whole rounds by number."""
        return {int(event["index"]): event for event in self.journal.named("round")}

    def states(self) -> list[Mapping[str, Any]]:
        """The board's states in order, from before the first run to after the last."""
        later = [{name: event[name] for name in event if name != "event"} for event in self.journal.named("state")]
        return [self.described()["state"], *later]

    def _reject_throttled(self) -> None:
        reasons = throttling(self.states())
        if reasons and not self.allow_throttled:
            self.journal.remove()  # a cool board begins anew
            raise CompressError(
                f"the board slowed itself down, and no times are shown: {'; '.join(reasons)}", where=self.device.url,
                way_out="Cool it, give it more power, or wait; --allow-throttled shows the figures all the same.",
            )  # fmt: skip

    def _check(self, remote: Remote) -> None:
        missing = self._without("golden") if self.journal.named("description") else list(self.bundles)
        if missing:
            self.progress.say("comparing with the golden vectors there")
            for runner in self.runners:
                names = [name for name in missing if self.kinds[name].runner.name == runner.name]
                if names:
                    timeout = _START * (1 + len(names))
                    self._ask(remote, "check", names, timeout=timeout, environment=_EXACT, runner=runner)
        self._complete("golden")
        if not self.journal.named("description"):
            raise self._incomplete(next(iter(self.bundles)))
        for name, event in self.journal.by_id("golden").items():
            self._judge(name, event["errors"])

    def _judge(self, name: str, errors: Mapping[str, float]) -> None:
        bundle = self.bundles[name]
        if errors.keys() != set(bundle.outputs):
            raise self._incomplete(name)
        for output, error in errors.items():
            if not error <= bundle.tolerance:
                self.journal.remove()
                raise MismatchError(
                    f"output {output!r} is {error:.2e} off the golden one, allowed {bundle.tolerance:.0e}; "
                    "nothing was timed",
                    where=f"{bundle.path} on {self.device.url}",
                    way_out="`compress verify` compares here. If it agrees, the runtime there computes otherwise.",
                )  # fmt: skip

    def _load(self, remote: Remote) -> None:
        for name in self._without("loaded"):
            self.progress.say(f"loading {self.names[name]}")
            self._ask(remote, "load", [name], timeout=2 * _START, runner=self.kinds[name].runner)
        self._complete("loaded")

    def _time(self, remote: Remote) -> None:
        done, last = self._done()
        wanted = [name for name in self.bundles if self._wants(done.get(name, _NOTHING))]
        if not wanted:
            return
        self.progress.say(f"timing {len(wanted)} bundles, {self.threads} threads")
        loaded = self.journal.by_id("loaded")
        runs = sum(self.limits.runs * loaded[name]["first_ms"] / 1e3 for name in wanted)
        timeout = _START * (1 + len(wanted)) + 5 * (runs + len(wanted) * (self.limits.seconds + self.limits.warmup))
        self._ask(
            remote, "rounds", wanted, timeout=timeout, runner=self.timer, done=done, first_round=last + 1, samples=True,
            min_runs=self.limits.runs, min_seconds=self.limits.seconds, min_rounds=self.limits.rounds,
            warmup_seconds=self.limits.warmup,
        )  # fmt: skip
        rounds = self.rounds()
        first = rounds[min(rounds)]["blocks"] if rounds else {}  # begins with all of them
        for name in self.bundles:
            told = [each["blocks"][name].get("sample_ms") for each in rounds.values() if name in each["blocks"]]
            if name not in first or not all(told):
                raise self._incomplete(name)

    def _wants(self, done: Mapping[str, float]) -> bool:
        limits = self.limits
        return done["runs"] < limits.runs or done["seconds"] < limits.seconds or done["rounds"] < limits.rounds

    def _decode(self, remote: Remote) -> None:
        """How decoders answer: after the rounds, whose single tokens are what bundles are compared by."""
        answering = {name: "decoder" in self.job(name) for name in self.bundles}
        for name in self._without("decoded"):
            if answering[name]:
                self.progress.say(f"answering with {self.names[name]}")
                self._ask(
                    remote, "decode", [name], timeout=2 * _START, runner=self.kinds[name].runner,
                    answer_seconds=self.limits.seconds,
                )  # fmt: skip
                if name not in self.journal.by_id("decoded"):
                    raise self._incomplete(name)

    def _energy(self, remote: Remote) -> None:
        if self.described().get("sensor") is None:
            return
        for name in self._without("energy"):
            self.progress.say(f"measuring the energy of {self.names[name]}")
            self._ask(
                remote, "energy", [name], timeout=2 * _START + 5 * (self.limits.energy + self.limits.warmup),
                runner=self.timer, energy_seconds=self.limits.energy, warmup_seconds=self.limits.warmup,
            )  # fmt: skip

    def _count(self, remote: Remote) -> None:
        missing = self._without("counted")
        if missing:
            self.progress.say(f"counting instructions of {len(missing)} bundles, 1 thread")
            timeout = _START * (1 + 2 * len(missing))
            for runner in self.runners:
                own = [name for name in missing if self.kinds[name].runner.name == runner.name]
                if own:
                    self._ask(
                        remote, "count", own, timeout=timeout, environment=environment(remote), runner=runner,
                        count_runs=RUNS,
                    )  # fmt: skip

    def job(self, name: str) -> dict[str, Any]:
        """What the runner is given of a bundle."""
        return self.kinds[name].job(self.bundles[name], name, self.limits.batch, self.threads)

    def _ask(
        self, remote: Remote, task: str, names: Sequence[str], *, timeout: float,
        done: Mapping[str, Mapping[str, float]] | None = None, environment: Mapping[str, str] | None = None,
        runner: Runner = PYTHON, **settings: Any,
    ) -> None:  # fmt: skip
        """One task for some bundles; its events are kept."""
        jobs = [{**self.job(name), "done": (done or {}).get(name, _NOTHING)} for name in names]
        failed: list[dict[str, Any]] = []

        def keep(event: dict[str, Any]) -> None:
            failed.append(event) if event["event"] == "failed" else self.journal.add(event)

        remote.run(task, jobs, timeout=timeout, on_event=keep, environment=environment, runner=runner, **settings)
        for event in failed:
            raise failure(event, str(self.bundles[event["id"]].path), self.device.url)

    def _complete(self, event: str) -> None:
        """Raises DeviceError where the runner has ended and left a bundle out."""
        for name in self._without(event):
            raise self._incomplete(name)

    def _incomplete(self, name: str) -> DeviceError:
        self.journal.remove()  # what else it said is not gone on with
        return DeviceError(
            f"its runner ended and left out some of {self.names[name]}", where=self.device.url,
            way_out=LOOK,
        )  # fmt: skip

    def _without(self, event: str) -> list[str]:
        """Bundles of which an event is missing."""
        return [name for name in self.bundles if name not in self.journal.by_id(event)]

    def _done(self) -> tuple[dict[str, Mapping[str, float]], int]:
        """Runs, seconds and rounds that each bundle has had, and the number of the last round."""
        done: dict[str, Mapping[str, float]] = {}
        rounds = self.rounds()
        for event in rounds.values():
            for name, block in event["blocks"].items():
                block = {**block, "rounds": 1}
                done[name] = {kind: had + block[kind] for kind, had in done.get(name, _NOTHING).items()}
        return done, max(rounds, default=-1)


def _names(bundles: Sequence[Contents]) -> list[str]:
    """Folders' names; whole paths where two are called alike; with its place where one folder is given twice. Of a
    bundle of several kinds each is told by its file."""
    short = [bundle.path.resolve().name + _which(bundle, bundles) for bundle in bundles]
    whole = [str(bundle.path) + _which(bundle, bundles) for bundle in bundles]
    numbered = [f"{name} ({place})" for place, name in enumerate(short, 1)]
    return next(names for names in (short, whole, numbered) if len(set(names)) == len(names))


def _fitted(bundle: Contents, device: Device, description: Description) -> Kind:
    """The bundle's kind, with the runner for that device. Raises DeviceError where there is none, or the bundle is
    machine code for another architecture."""
    kind = kind_of(bundle)
    if kind.artifact == LIBRARY and (arch := architecture_of(bundle.path / LIBRARY)) not in ("", description.arch):
        raise DeviceError(
            f"{bundle.path.name} is machine code for {arch}: this is {description.arch} ({description.cpu})",
            where=device.url, way_out="Compress for the target that the board is.",
        )  # fmt: skip
    return replace(kind, runner=kind.runner.fits(device, description) or kind.runner)


def _which(bundle: Contents, bundles: Sequence[Contents]) -> str:
    artifact = kind_of(bundle).artifact
    others = {kind_of(each).artifact for each in bundles if each.path == bundle.path}
    entry = f" (entry {bundle.entry})" if bundle.entry else ""
    return f" ({artifact})" if others != {artifact} else entry


def _key(
    device: Device, description: Description, bundles: Sequence[Contents], limits: Limits, runners: Sequence[Runner]
) -> str:
    """What a run that was cut off is known by: bundles, board, options and the runners themselves."""
    parts = [
        device.url, asdict(description), asdict(limits), [runner.digest() for runner in runners],
        [[str(bundle.path.resolve()), dict(bundle.digests), bundle.tolerance] for bundle in bundles],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
