"""`compress profile`: measures a device's kernels inside small networks, and fits the latency model to them.

    ┌▶ draw networks where the model errs most, of sizes that are new ─ capture, quantize, lower ─┐
    │                                                                                             ▼
    └─ predict each network from the others ◀─ fit ◀─ visit all networks so far, interleaved ◀────┘

It ends at its number of kernels or before its time is over, and writes the tables and the model (`devices/latency/
profile.py`). What was measured before a cut is found again: networks in the work folder, times in the journal.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from compressor.devices.device import Description, Device
from compressor.devices.journal import Journal
from compressor.devices.latency.fit import errors
from compressor.devices.latency.kinds import FEATURES, fit_models
from compressor.devices.latency.laws.numbers import Core
from compressor.devices.latency.lookup import measured_processor
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.networks import Network, network, reference
from compressor.devices.latency.predicted import CallModel
from compressor.devices.latency.profile import Profile, core_of, read_profile, write_models, write_profile
from compressor.devices.latency.sitting import Item, Settings, Sitting
from compressor.devices.latency.subject import Subject, calls_at_one, lower
from compressor.devices.latency.traits import Seen, Trait, traits_of
from compressor.devices.remote import on_device
from compressor.devices.suitable import check_architecture
from compressor.errors import CompressError, DeviceError, OutputError
from compressor.graph.capture import capture
from compressor.graph.contract import Progress
from compressor.graph.program import Program
from compressor.profile_draw import Drawn, draws, first_round
from compressor.profile_files import check_folder, found_again, told
from compressor.profile_networks import compressed
from compressor.targets.target import Target

__all__ = ["Limits", "Profiled", "profile", "refit"]

_CPU = "CPUExecutionProvider"
_CHOICE, _HAND = 3, 6  # networks that the newest is chosen from, in the first round and later
_LEAST = 12  # networks that a model is fitted to at all


@dataclass(frozen=True)
class Limits:
    """`kernels` timed at one thread and `seconds` are the most; `visits` is how often a network is looked at.

    `threads`: the first is profiled in full; at each other, a share of the networks is timed again.
    """

    seconds: float = 29 * 60.0
    kernels: int = 1400
    visits: int = 10
    stages: int = 3
    threads: tuple[int, ...] = (1,)
    second: float = 0.4  # share of the networks that is timed at other numbers of threads
    seed: int = 0
    settings: Settings = field(default_factory=Settings)

    def visits_at(self, stage: int) -> int:
        """Earlier stages share half of the visits, the last has what they left; none goes without."""
        earlier = self.stages - 1
        each = max(1, self.visits // 2 // max(1, earlier))
        return each if stage < earlier else max(1, self.visits - earlier * each)


@dataclass(frozen=True)
class Profiled:
    """What came of it. `beside` are the other networks' times, by visits' parity as well, for the noise floor."""

    profile: Profile
    models: Mapping[int, CallModel]
    beside: Mapping[str, Measured]
    halves: tuple[Mapping[str, Measured], Mapping[str, Measured]]
    failures: Mapping[str, str]


def profile(
    device: Device, target: Target, out: Path, work: Path, limits: Limits = Limits(),
    *, model: str = FEATURES, beside: Sequence[Item] = (), progress: Progress = Progress(),  # noqa: B008  it has no state
) -> Profiled:  # fmt: skip
    """Measure, fit a model of this kind and write to `out`.

    `beside` are further networks timed in the same sitting and never fitted to.

    Raises DeviceError for a device whose time means nothing, that is of another architecture than the target or times
    fewer than a dozen networks, and for a target whose preferred provider compiles whole graphs; DeviceLostError where
    it stops answering: the same call goes on. OutputError for folders that cannot be written to: before anything is
    measured where that can be told, else the same call goes on, too.
    """
    check_folder(out)
    description = device.describe()
    if not description.timed:
        raise DeviceError("it is emulated: its time means nothing", where=device.url)
    _check_provider(target)
    check_architecture(description.arch, target, device.url)
    _check_fitting(model)
    with told(work):
        work.mkdir(parents=True, exist_ok=True)
    left = Journal(work / f"folders-{hashlib.sha256(device.url.encode()).hexdigest()[:24]}.jsonl")
    with on_device(device, left) as remote:
        first = _made(Drawn("reference", 0, "plain"), _captured(reference()), target, work)
        sitting = Sitting(device, remote, first, limits.settings, work, progress)
        course = _Course(sitting, target, core_of(asdict(description)), work, limits, list(beside), progress)
        course.run()
    models = course.fitted(model)
    measured = tuple(sitting.measured().values())
    own = tuple(m for m in measured if any(m.name == item.subject.name for item in course.items))
    about = _about(description, target, limits, own)
    about["cpu"] = measured_processor(target, device.url, description.cpu)
    found = Profile({**about, "seconds": round(course.seconds())}, own)
    with told(out, "Make room there; the same command writes it, nothing is measured again."):
        write_profile(out, found, {threads: model.to_json() for threads, model in models.items()})
    left.remove()
    halves = (sitting.measured(lambda number: number % 2 == 0), sitting.measured(lambda number: number % 2 == 1))
    names = {item.key for item in beside}
    kept = {key: value for key, value in sitting.measured().items() if key in names}
    sitting.end()
    return Profiled(found, models, kept, halves, sitting.failures())


def refit(folder: Path, model: str) -> Profile:
    """Fit a model of this kind to the tables of an earlier profile and put it in place of what was fitted to them.

    Raises DeviceError for a folder that is not there, that holds no profile, or one of fewer than a dozen networks or
    of times that cannot be; OutputError where it cannot be written to.
    """
    _check_fitting(model)
    if not folder.is_dir():
        raise DeviceError(
            "there is no profile to fit to", where=str(folder),
            way_out="`compress profile` without --refit measures one; --out names the folder of another.",
        )  # fmt: skip
    found = read_profile(folder)
    _check_times(folder, found.networks)
    counts = sorted({each.threads for each in found.networks})
    known = _enough({n: [each for each in found.networks if each.threads == n] for n in counts})
    models = fit_models(known, model, core_of(found.about))
    with told(folder):
        write_models(folder, {threads: each.to_json() for threads, each in models.items()})
    return found


def _check_times(folder: Path, networks: Sequence[Measured]) -> None:
    """Tables are for any tool to read, and so for any to write."""
    for each in networks:
        whole, nodes = each.microseconds, (node.microseconds for node in each.nodes)
        if not 0 < whole < math.inf or not all(0 <= time < math.inf for time in nodes) or each.threads < 1:
            raise DeviceError(f"the times of {each.name} cannot be", where=str(folder), way_out="Measure it anew.")


def _enough(networks: Mapping[int, Sequence[Measured]], reasons: str = "") -> dict[int, Sequence[Measured]]:
    """The numbers of threads with networks enough to fit to."""
    found = {threads: own for threads, own in networks.items() if len(own) >= _LEAST}
    if not found:
        what = f"fewer than {_LEAST} networks were timed"
        raise DeviceError(
            f"{what}: {reasons}" if reasons else what, way_out="Give it more: --time 29min --kernels 1400."
        )
    return found


def _check_fitting(model: str) -> None:
    """Only trees need another package."""
    if model == FEATURES and importlib.util.find_spec("sklearn") is None:
        raise DeviceError("fitting needs scikit-learn", way_out="pip install 'edge-compressor[profile]'")


def _check_provider(target: Target) -> None:
    """Kernels can be told apart on the runtime's own processor provider alone: others compile whole graphs into one."""
    first = target.providers[0].name if target.providers else _CPU
    if first != _CPU:
        raise DeviceError(
            f"{target.name} runs on {first}, which compiles whole graphs: its kernels cannot be timed one by one",
            way_out=f"`compress calibrate --target {target.name}` measures whole networks.",
        )  # fmt: skip


@dataclass(frozen=True)
class _Candidate:
    """A network captured once: its sizes say whether it is taken, its program is what is lowered then."""

    drawn: Drawn
    program: Program
    traits: list[Trait]


class _Course:
    """The stages of one profile. `items` are the networks so far, at one thread and at others."""

    def __init__(
        self,
        sitting: Sitting,
        target: Target,
        core: Core,
        work: Path,
        limits: Limits,
        beside: list[Item],
        progress: Progress,
    ) -> None:
        self.sitting, self.target, self.core = sitting, target, core
        self.work, self.limits = work, limits
        self.beside, self.progress = beside, progress
        self.items: list[Item] = []
        self.making = 0.0  # seconds
        self.seen = Seen()

    def run(self) -> None:
        stages, passes = self.limits.stages, 0
        for stage in range(stages):
            self._add(stage)
            for _ in self.progress.over(range(self.limits.visits_at(stage)), f"timing {len(self.items)} networks"):
                if self._spent() and passes >= 2:
                    self.progress.say("the time is up")
                    return
                self.sitting.visit([*self.items, *self.beside], passes, profiled=passes % 2 == 0)
                passes += 1

    def fitted(self, model: str) -> dict[int, CallModel]:
        """A model for each number of threads; the first is the prior of the others. Raises DeviceError."""
        timed = {threads: self._measured(threads) for threads in self.limits.threads}
        networks = _enough(timed, "; ".join(self.sitting.failures().values()) or "the time was too short")
        counts = " and ".join(f"{len(own)} networks at {threads} threads" for threads, own in networks.items())
        self.progress.say(f"fitting to {counts}")
        return fit_models(networks, model, self.core)

    def kernels(self) -> int:
        """Kernels of the networks timed at the first number of threads."""
        return sum(_kernels(item.subject) for item in self.items if item.threads == self.limits.threads[0])

    def _add(self, stage: int) -> None:
        """The whole first round; later, networks until this stage's share of the kernels that were left is reached."""
        left = self.limits.kernels - self.kernels()
        share = self.kernels() + left / (self.limits.stages - stage) if stage else self.limits.kernels
        for hand in self.progress.over(self._hands(stage), "making networks"):
            if self.kernels() >= share or (self._spent() and self.items):
                return
            start = time.monotonic()
            try:
                newest = self._newest(hand)
                subject = _made(newest.drawn, newest.program, self.target, self.work)
            except OutputError:  # a full disk would leave out every one, at last the user's time
                raise
            except CompressError as error:
                self.progress.say(f"left out: one of {', '.join(each.name for each in hand)}: {error}")
            else:
                if self.kernels() + _kernels(subject) <= self.limits.kernels:
                    self._take(subject)
                    self.seen.add(newest.traits)
                elif stage:
                    return
            finally:
                self.making += time.monotonic() - start

    def _hands(self, stage: int) -> list[list[Drawn]]:
        """Networks to choose one from each: of one style and format at first, of several later."""
        seed = self.limits.seed + 1000 * (stage + 1)
        if stage == 0:
            return [drawn.others(_CHOICE) for drawn in first_round(seed)]
        drawn = draws(self._errors(), 200 * _HAND, seed)
        return [drawn[place : place + _HAND] for place in range(0, len(drawn), _HAND)]

    def _newest(self, hand: Sequence[Drawn]) -> _Candidate:
        """The one that tells most for its number of kernels: whose sizes are furthest from what was chosen so far."""
        return max(map(_candidate, hand), key=lambda each: self.seen.worth(each.traits))

    def _take(self, subject: Subject) -> None:
        first, *others = self.limits.threads
        self.items.append(Item(subject, first, nodes=True))
        for threads in others:
            taken = sum(item.threads == threads for item in self.items)
            if taken < self.limits.second * sum(item.threads == first for item in self.items):
                self.items.append(Item(subject, threads, nodes=True))

    def _errors(self) -> dict[tuple[str, str], float]:
        """|ln(predicted / measured)| by style and format, each network predicted from others."""
        own = self._measured(self.limits.threads[0])
        off, found = errors(own, self.core), dict[tuple[str, str], list[float]]()
        for each in own:
            found.setdefault((each.style, each.name.rpartition("-")[2]), []).append(off[each.name])
        return {pair: mean(listed) for pair, listed in found.items()}

    def _measured(self, threads: int) -> list[Measured]:
        known = self.sitting.measured()
        return [known[item.key] for item in self.items if item.threads == threads and item.key in known]

    def seconds(self) -> float:
        """What the profile itself took: making the networks and visiting them, not what was timed beside them."""
        return self.making + self.sitting.seconds(item.key for item in self.items)

    def _spent(self) -> bool:
        return self.seconds() > self.limits.seconds


def _captured(each: Network) -> Program:
    return capture(each.module, each.example).program


def _candidate(drawn: Drawn) -> _Candidate:
    program = _captured(network(drawn.style, drawn.seed))
    return _Candidate(drawn, program, traits_of(calls_at_one(program), drawn.how))


def _made(drawn: Drawn, program: Program, target: Target, work: Path) -> Subject:
    """The network's files, from an earlier run where they are there. Raises CompressError."""
    if (known := found_again(work, drawn.name)) is not None:
        return known
    made = compressed(program, drawn.how, drawn.seed, target)
    with told(work):
        subject = lower(made, target, work, drawn.name, drawn.style)
    gc.collect()
    return subject


def _kernels(subject: Subject) -> int:
    return sum(call.main for call in subject.calls)


def _about(description: Description, target: Target, limits: Limits, networks: Sequence[Measured]) -> dict[str, Any]:
    first = limits.threads[0]
    return {
        "target": target.name, "cpu": description.cpu, "arch": description.arch, "cores": description.cores,
        "caches": list(description.caches),
        "onnxruntime": description.runtimes.get("onnxruntime", ""), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "threads": sorted({m.threads for m in networks}),
        "networks": sum(m.threads == first for m in networks),
        "kernels": sum(sum(call.main for call in m.calls) for m in networks if m.threads == first),
        **{f"setting_{name}": value for name, value in asdict(limits.settings).items()},
    }  # fmt: skip
