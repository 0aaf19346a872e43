"""Networks timed on a device in one sitting: visited again and again in a new order, each between runs of a reference.

    a block counts   ⇔  |ln(r / R)| ≤ 0.07 before and after it       r: the reference there, R: its median
    a network's time  =  median over all blocks that count of  t · R / r̄

Machines that others share have states (a neighbour on the same core, a clock): what falls into another state than the
usual one is left out, and drift within it is divided away. A network of which fewer than four blocks count is judged
by all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from compressor.devices.device import Device
from compressor.devices.journal import Journal
from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.optimized import node_owners
from compressor.devices.latency.subject import Subject
from compressor.devices.remote import Remote
from compressor.devices.runners import PYTHON
from compressor.graph.contract import Progress

__all__ = ["Item", "Settings", "Sitting", "steady"]

STATE = 0.07  # of the reference's logarithm: further away is another state of the machine
_LEAST = 4  # blocks
_SLOWEST = 60.0  # seconds a visit may take besides its blocks


@dataclass(frozen=True)
class Settings:
    """A visit is so many blocks of so many seconds."""

    blocks: int = 8
    seconds: float = 0.03


@dataclass(frozen=True)
class Item:
    """A network at a number of threads; `nodes` asks for its nodes' times, in `profiled` visits."""

    subject: Subject
    threads: int = 1
    nodes: bool = False

    @property
    def key(self) -> str:
        return f"{self.subject.name}@{self.threads}"


class Sitting:
    """What was measured so far, on disk as it comes. Raises DeviceError and DeviceLostError as `Remote`."""

    def __init__(
        self, device: Device, remote: Remote, reference: Subject, settings: Settings = Settings(),
        folder: Path | None = None, progress: Progress = Progress(),  # noqa: B008  it has no state
    ) -> None:  # fmt: skip
        self.remote, self.reference, self.settings, self.progress = remote, reference, settings, progress
        described = [device.url, asdict(device.describe()), asdict(settings), PYTHON.digest(), reference.name]
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]
        self.journal = Journal(None if folder is None else folder / f"sitting-{key}.jsonl")
        self.items: dict[str, Item] = {}
        self._pushed: set[str] = set()
        self._owners: dict[str, dict[str, tuple[str, str]]] = {}  # by item: what its nodes do
        self._push(reference)

    def visit(self, items: Sequence[Item], number: int, profiled: bool = False) -> None:
        """Visit each once, in an order of its own; those whose visit `number` is in the journal are left out."""
        done = set(self.journal.by_id("visit")) | set(self.journal.by_id("failed"))
        failed = {str(event["job"]) for event in self.journal.named("failed")}
        wanted = [item for item in items if f"{item.key}#{number}" not in done and item.key not in failed]
        self.items.update((item.key, item) for item in items)
        random.Random(number).shuffle(wanted)
        for item in wanted:
            self._push(item.subject)
        if wanted:
            self._run(wanted, number, profiled)

    def measured(self, keep: Callable[[int], bool] = lambda number: True) -> dict[str, Measured]:
        """By key, from the visits whose number `keep` admits; networks without nodes' times have none."""
        usual = self.usual_references()
        found: dict[str, Measured] = {}
        for key, events in self._events(keep).items():
            item = self.items[key]
            blocks = [block for event in events for block in event["blocks"]]
            found[key] = Measured(
                item.subject.name, item.subject.style, item.threads, item.subject.calls,
                self._nodes(item, events), 1e3 * median(steady(blocks, usual[item.threads])),
            )  # fmt: skip
        return found

    def failures(self) -> dict[str, str]:
        """Why a network was not timed."""
        return {str(event["job"]): f"{event['kind']}: {event['reason']}" for event in self.journal.named("failed")}

    def seconds(self, keys: Iterable[str]) -> float:
        """What the visits of some items took, loading included."""
        wanted = set(keys)
        return sum(float(event["seconds"]) for event in self.journal.named("visit") if event["job"] in wanted)

    def end(self) -> None:
        """All is done: what was kept for going on is removed."""
        self.journal.remove()

    def usual_references(self) -> dict[int, float]:
        """Milliseconds of the reference by threads, the median of the whole sitting."""
        found: dict[int, list[float]] = {}
        for event in self.journal.named("visit"):
            if event["job"] in self.items:
                listed = found.setdefault(self.items[event["job"]].threads, [])
                listed += [reference for block in event["blocks"] for reference in block[1:]]
        return {threads: float(median(listed)) for threads, listed in found.items()}

    def _events(self, keep: Callable[[int], bool]) -> Mapping[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for event in self.journal.named("visit"):
            if event["job"] in self.items and keep(int(event["id"].rpartition("#")[2])):
                found.setdefault(event["job"], []).append(event)
        return found

    def _nodes(self, item: Item, events: Sequence[Mapping[str, Any]]) -> tuple[NodeTime, ...]:
        """Each node's mean over the visits that timed nodes."""
        times: dict[str, list[float]] = {}
        for event in events:
            for node, microseconds in event.get("nodes", {}).items():
                times.setdefault(node, []).append(microseconds)
        graphs = self._graphs(item)
        if not graphs or not times:
            return ()
        if item.key not in self._owners:
            self._owners[item.key] = node_owners(item.subject, graphs[0]["graph"])
        owners = self._owners[item.key]
        return tuple(
            NodeTime(node, *owners.get(node, ("", "")), sum(each) / len(each)) for node, each in times.items()
        )  # fmt: skip

    def _graphs(self, item: Item) -> list[dict[str, Any]]:
        return [event for event in self.journal.named("visit") if event["job"] == item.key and "graph" in event]

    def _run(self, items: Sequence[Item], number: int, profiled: bool) -> None:
        visits = [
            {
                "id": f"{item.key}#{number}", "job": item.key, "nodes": profiled and item.nodes,
                "graph": profiled and item.nodes and not self._graphs(item),
            }
            for item in items
        ]  # fmt: skip
        timeout = 300.0 + len(items) * (_SLOWEST + 20 * self.settings.blocks * self.settings.seconds)
        self.remote.run(
            "visits", [_job(item.subject, item.threads, item.key) for item in items], timeout=timeout,
            on_event=self.journal.add, reference=_job(self.reference, 1, "reference"), visits=visits,
            blocks=self.settings.blocks, block_seconds=self.settings.seconds,
        )  # fmt: skip

    def _push(self, subject: Subject) -> None:
        if subject.name not in self._pushed:
            self.remote.push(subject.name, {path.name: path for path in _files(subject)})
            self._pushed.add(subject.name)


def steady(blocks: Sequence[Sequence[float]], usual: float) -> list[float]:
    """Milliseconds of the blocks [time, reference before, reference after] that count, brought to the usual state."""
    inside = [block for block in blocks if all(abs(math.log(reference / usual)) <= STATE for reference in block[1:])]
    chosen = inside if len(inside) >= _LEAST else blocks
    return [block[0] * usual / (sum(block[1:]) / len(block[1:])) for block in chosen]


def _files(subject: Subject) -> list[Path]:
    """The model, weights beside it, and its inputs."""
    beside = sorted(subject.model.parent.glob(f"{subject.model.name}.*"))
    return [subject.model, *beside, subject.inputs]


def _job(subject: Subject, threads: int, key: str) -> dict[str, Any]:
    npz = f"{subject.name}/{subject.inputs.name}"
    inputs = {name: {"npz": npz} for name in subject.feeds()}
    return {"id": key, "model": f"{subject.name}/{subject.model.name}", "inputs": inputs, "threads": threads}
