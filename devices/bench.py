"""Measures bundles on a device: golden vectors first, then load, first run, interleaved rounds, and energy.

    push ─▶ check ─▶ load (each alone) ─▶ rounds (all together) ─▶ energy (each alone, where there is a sensor)

Every event is kept as it comes, so that after a device was lost the same call goes on with what is missing: golden
vectors, loads and rounds that were finished are not repeated. An emulated device is checked and never timed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compressor.devices.artifact import Kind, kind_of, rows
from compressor.devices.device import Description, Device
from compressor.devices.figures import Comparison, Figures, figures, versus
from compressor.devices.journal import Journal
from compressor.devices.remote import Remote, failure, on_device, runner_digest
from compressor.devices.stability import throttling, unsteadiness
from compressor.errors import DeviceLostError, MismatchError
from compressor.export.verify import Contents, open_bundle
from compressor.graph.contract import Progress

__all__ = ["Bench", "Limits", "bench"]

_START = 300.0  # seconds: a slow board's start of Python and the runtime; also what a session's optimization may take


@dataclass(frozen=True)
class Limits:
    """How long is measured. `seconds` and `runs` are what each bundle has at least; `threads` 0: the board's cores."""

    seconds: float = 1.0
    runs: int = 50
    warmup: float = 0.5
    energy: float = 2.0
    batch: int = 1
    threads: int = 0


@dataclass(frozen=True)
class Bench:
    """What was found. Where time means nothing, `figures` is empty and `errors` is all there is.

    `errors` are the golden outputs' by bundle. `throttled` and `unstable` say why figures should not be believed,
    `notes` what to know of them.
    """

    url: str
    description: Description
    versions: Mapping[str, str]
    threads: int
    batch: int
    errors: Mapping[str, Mapping[str, float]]
    figures: tuple[Figures, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    states: tuple[Mapping[str, Any], ...] = ()
    clocks: tuple[float | None, ...] = field(default=(), repr=False)
    throttled: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def timed(self) -> bool:
        return self.description.timed

    def to_json(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if name not in ("figures", "clocks")}
        comparisons = [{**asdict(each), "word": each.word} for each in self.comparisons]
        return {
            **found, "timed": self.timed, "figures": [each.to_json() for each in self.figures],
            "comparisons": comparisons,
        }  # fmt: skip


def bench(
    device: Device,
    bundles: Sequence[Path],
    limits: Limits = Limits(),
    *,
    folder: Path | None = None,
    progress: Progress = Progress(),  # noqa: B008  it has no state
) -> Bench:
    """Measure bundles beside each other; the first is what the others are compared with.

    `folder` is where a run that may be cut off keeps what it has. Raises LoadError for what is no sound bundle,
    MismatchError where a golden output is not met there, DeviceLostError where the device stops answering,
    DeviceError where it lacks a runtime, UnsupportedError or ExportError where a model does not run on it.
    """
    contents = [open_bundle(path) for path in bundles]
    description = device.describe()
    run = _Run(device, description, contents, limits, progress, folder)
    try:
        run.measure()
    except DeviceLostError as lost:
        kept = "What was finished is kept: the same command goes on with what is missing."
        way_out = kept if run.journal.path and run.journal.events else lost.way_out
        raise DeviceLostError(lost.what, where=lost.where, way_out=way_out) from lost
    found = run.result()
    run.journal.remove()
    return found


class _Run:
    """One call of `bench`: what is to be done, and the events so far."""

    def __init__(
        self, device: Device, description: Description, bundles: Sequence[Contents], limits: Limits,
        progress: Progress, folder: Path | None,
    ) -> None:  # fmt: skip
        self.device, self.description, self.limits, self.progress = device, description, limits, progress
        self.bundles = {str(index): bundle for index, bundle in enumerate(bundles)}
        self.names = dict(zip(self.bundles, _names(bundles), strict=True))
        self.threads = limits.threads or description.cores
        self.kind = kind_of(bundles)
        key = _key(device, description, bundles, limits, self.kind)
        self.journal = Journal(None if folder is None else folder / f"{key}.jsonl")
        if self.journal.resumed:
            done = len(_rounds(self.journal))
            progress.say(f"going on where an earlier run was cut off: {done} rounds are there")

    def measure(self) -> None:
        """Do what is missing. Raises as `bench`."""
        with on_device(self.device) as remote:
            self.progress.say(f"pushing {len(self.bundles)} bundles to {self.device.url}")
            for name, bundle in self.bundles.items():
                remote.push(name, self.kind.files(bundle))
            self._check(remote)
            if self.description.timed:
                self._load(remote)
                self._time(remote)
                self._energy(remote)

    def _check(self, remote: Remote) -> None:
        missing = self._without("golden")
        if missing:
            self.progress.say("comparing with the golden vectors there")
            self._run(remote, "check", missing, timeout=_START * (1 + len(missing)))
        for name, event in self.journal.by_id("golden").items():
            self._judge(name, event["errors"])

    def _judge(self, name: str, errors: Mapping[str, float]) -> None:
        bundle = self.bundles[name]
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
            self._run(remote, "load", [name], timeout=2 * _START)

    def _time(self, remote: Remote) -> None:
        done, last = _done(self.journal)
        wanted = [
            name for name in self.bundles
            if done.get(name, (0, 0.0))[0] < self.limits.runs or done[name][1] < self.limits.seconds
        ]  # fmt: skip
        if not wanted:
            return
        self.progress.say(f"timing {len(wanted)} bundles, {self.threads} threads")
        loaded = self.journal.by_id("loaded")
        runs = sum(self.limits.runs * loaded[name]["first_ms"] / 1e3 for name in wanted)
        timeout = _START * (1 + len(wanted)) + 5 * (runs + len(wanted) * (self.limits.seconds + self.limits.warmup))
        self._run(
            remote, "rounds", wanted, timeout=timeout, done=done, first_round=last + 1, samples=True,
            min_runs=self.limits.runs, min_seconds=self.limits.seconds, warmup_seconds=self.limits.warmup,
        )  # fmt: skip

    def _energy(self, remote: Remote) -> None:
        if self._versions().get("sensor") is None:
            return
        for name in self._without("energy"):
            self.progress.say(f"measuring the energy of {self.names[name]}")
            self._run(
                remote, "energy", [name], timeout=2 * _START + 5 * (self.limits.energy + self.limits.warmup),
                energy_seconds=self.limits.energy, warmup_seconds=self.limits.warmup,
            )  # fmt: skip

    def _run(
        self, remote: Remote, task: str, names: Sequence[str], *, timeout: float,
        done: Mapping[str, tuple[int, float]] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        """One task for some bundles; its events are kept."""
        jobs = []
        for name in names:
            job = self.kind.job(self.bundles[name], name, self.limits.batch, self.threads)
            runs, seconds = (done or {}).get(name, (0, 0.0))
            jobs.append({**job, "done": {"runs": runs, "seconds": seconds}})

        failed: list[dict[str, Any]] = []

        def keep(event: dict[str, Any]) -> None:
            failed.append(event) if event["event"] == "failed" else self.journal.add(event)

        remote.run(task, jobs, timeout=timeout, on_event=keep, **settings)
        for event in failed:
            raise failure(event, str(self.bundles[event["id"]].path), self.device.url)

    def _without(self, event: str) -> list[str]:
        """Bundles of which an event is missing."""
        return [name for name in self.bundles if name not in self.journal.by_id(event)]

    def _versions(self) -> Mapping[str, Any]:
        return self.journal.named("description")[-1]

    def result(self) -> Bench:
        """What the events come to."""
        described = self._versions()
        versions = {name: str(described[name]) for name in ("onnxruntime", "numpy", "python")}
        golden = {name: event["errors"] for name, event in self.journal.by_id("golden").items()}
        errors = {self.names[name]: golden[name] for name in self.bundles}
        plain = Bench(self.device.url, self.description, versions, self.threads, self.limits.batch, errors)
        return plain if not self.description.timed else self._timed(plain, golden)

    def _timed(self, plain: Bench, golden: Mapping[str, Mapping[str, float]]) -> Bench:
        loaded, energy, taken = self.journal.by_id("loaded"), self.journal.by_id("energy"), _rounds(self.journal)
        found = []
        for name, bundle in self.bundles.items():
            blocks = {index: event["blocks"][name] for index, event in taken.items() if name in event["blocks"]}
            found.append(
                figures(
                    self.names[name], rows(bundle, self.limits.batch), bundle.tolerance, golden[name], loaded[name],
                    blocks, energy.get(name),
                )
            )  # fmt: skip
        states = [self._versions()["state"], *self.journal.named("state")]
        clocks = [event["clock_mhz"] for event in taken.values()]
        return Bench(
            plain.url, plain.description, plain.versions, plain.threads, plain.batch, plain.errors,
            figures=tuple(found),
            comparisons=tuple(versus(found[0], other) for other in found[1:]),
            states=tuple(states), clocks=tuple(clocks),
            throttled=tuple(throttling(states)), unstable=tuple(unsteadiness(found, clocks)),
            notes=tuple(self._notes(found)),
        )  # fmt: skip

    def _notes(self, found: Sequence[Figures]) -> list[str]:
        notes = []
        for name, each in zip(self.bundles, found, strict=True):
            job = self.kind.job(self.bundles[name], name, self.limits.batch, self.threads)
            absent = [provider for provider in job["providers"] if provider not in each.providers]
            if absent:
                used = ", ".join(each.providers)
                notes.append(f"{each.name}: the runtime there has no {', '.join(absent)}; it ran on {used}")
            worst = max(each.errors_as_timed.values(), default=0.0)
            if not worst <= each.tolerance:
                notes.append(
                    f"{each.name}: with the runtime's default kernels, which were timed, its outputs are {worst:.1e} "
                    f"off (allowed {each.tolerance:.0e})"
                )
        return notes


def _rounds(journal: Journal) -> dict[int, dict[str, Any]]:
    """Whole rounds by number."""
    return {int(event["index"]): event for event in journal.named("round")}


def _done(journal: Journal) -> tuple[dict[str, tuple[int, float]], int]:
    """Runs and seconds that each bundle has had, and the number of the last round."""
    done: dict[str, tuple[int, float]] = {}
    rounds = _rounds(journal)
    for event in rounds.values():
        for name, block in event["blocks"].items():
            runs, seconds = done.get(name, (0, 0.0))
            done[name] = runs + block["runs"], seconds + block["seconds"]
    return done, max(rounds, default=-1)


def _names(bundles: Sequence[Contents]) -> list[str]:
    """Folders' names, or whole paths where two are called alike."""
    short = [bundle.path.resolve().name for bundle in bundles]
    if len(set(short)) == len(short):
        return short
    return [str(bundle.path) for bundle in bundles]


def _key(device: Device, description: Description, bundles: Sequence[Contents], limits: Limits, kind: Kind) -> str:
    """What a run that was cut off is known by: bundles, board, options and the runner itself."""
    parts = [
        device.url, asdict(description), asdict(limits), runner_digest(kind.runner),
        [[str(bundle.path.resolve()), dict(bundle.digests), bundle.tolerance] for bundle in bundles],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
