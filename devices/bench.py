"""Measures bundles on a device: golden vectors first, then load, first run, interleaved rounds, and energy.

A device that was lost in the middle leaves what it had finished (`bench_run.py`); the same call goes on from there. An
emulated device is checked and never timed; its instructions are counted where it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from compressor.devices.artifact import parts_of
from compressor.devices.batches import rows
from compressor.devices.bench_run import Limits, Run
from compressor.devices.counting import an_inference
from compressor.devices.device import Description, Device
from compressor.devices.energy import WORLD, Carbon
from compressor.devices.figures import Comparison, Figures, figures, versus
from compressor.devices.full_cycle import FullCycle, declared_power, full_cycles, making_of
from compressor.devices.latency.learning import remember_bundle
from compressor.devices.stability import throttling, unsteadiness
from compressor.errors import DeviceLostError
from compressor.export.verify import open_bundle, open_entry
from compressor.graph.contract import Progress
from compressor.targets import HOST, Figure

__all__ = ["Bench", "Limits", "bench"]


@dataclass(frozen=True)
class Bench:
    """What was found. Where time means nothing, `figures` is empty; `errors` and `instructions` are all there is.

    `instructions` are those of one inference on one thread by bundle, empty where they are not counted. `errors` are
    the golden outputs' by bundle. `throttled` and `unstable` say why figures should not be believed, `notes` what to
    know of them. `cycles` are energy and what it comes to over the life, by bundle.
    """

    url: str
    description: Description
    versions: Mapping[str, str]
    threads: int
    batch: int
    errors: Mapping[str, Mapping[str, float]]
    instructions: Mapping[str, int] = field(default_factory=dict)
    figures: tuple[Figures, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    states: tuple[Mapping[str, Any], ...] = ()
    clocks: tuple[float | None, ...] = field(default=(), repr=False)
    throttled: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    carbon: Carbon = WORLD
    cycles: tuple[FullCycle, ...] = ()

    @property
    def timed(self) -> bool:
        return self.description.timed

    @property
    def instruction_ratios(self) -> dict[str, float]:
        """How many times as many instructions each bundle takes as the first."""
        first = next(iter(self.instructions.values()), 0)
        return {name: count / first for name, count in self.instructions.items() if first}

    def to_json(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if name not in ("figures", "clocks")}
        comparisons = [{**asdict(each), "word": each.word} for each in self.comparisons]
        return {
            **found, "timed": self.timed, "instruction_ratios": self.instruction_ratios,
            "figures": [each.to_json() for each in self.figures], "comparisons": comparisons,
        }  # fmt: skip


def bench(
    device: Device,
    bundles: Sequence[Path],
    limits: Limits = Limits(),  # noqa: B008  it is frozen
    *,
    allow_throttled: bool = False,
    folder: Path | None = None,
    progress: Progress = Progress(),  # noqa: B008  it has no state
    carbon: Carbon = WORLD,
    power: Figure | None = None,
    entries: Sequence[str] = (),
) -> Bench:
    """Measure bundles beside each other; the first is what the others are compared with. One that holds a model and a
    library is two.

    `folder` is where a run that may be cut off keeps what it has. `power` (watts) stands in for a sensor, else what is
    declared for the board. `entries` are measured beside each bundle. Raises LoadError for what is no sound bundle,
    MismatchError where a golden output is not met there, CompressError where the board throttled and that is not
    allowed, DeviceLostError where the device stops answering, DeviceError where it lacks a runtime, UnsupportedError
    or ExportError where a model does not run on it.
    """
    contents = [
        part
        for path in bundles
        for part in (*parts_of(open_bundle(path)), *(open_entry(path, name) for name in entries))
    ]
    run = Run(device, device.describe(), contents, limits, progress, folder, allow_throttled=allow_throttled)
    power = power or declared_power(device.url, run.description, contents, run.threads)
    for each in contents:
        making_of(each)  # before anything is measured in vain
    try:
        run.measure()
    except DeviceLostError as lost:
        kept = "What was finished is kept: the same command goes on with what is missing."
        way_out = kept if run.journal.path and run.journal.begun else lost.way_out
        raise DeviceLostError(lost.what, where=lost.where, way_out=way_out) from lost
    found = _result(run, power, carbon)
    run.journal.remove()
    _learn(run, found)
    return found


def _result(run: Run, power: Figure | None, carbon: Carbon) -> Bench:
    """What the events come to."""
    described = run.described()
    versions = {name: str(described[name]) for name in ("onnxruntime", "tvm", "numpy", "python") if name in described}
    golden = run.journal.by_id("golden")
    errors = {run.names[name]: golden[name]["errors"] for name in run.bundles}
    plain = Bench(run.device.url, run.description, versions, run.threads, run.limits.batch, errors)
    if not run.description.timed:
        return replace(plain, instructions=_instructions(run), notes=tuple(_uncounted(run)))
    found, states = _figures(run), run.states()
    comparisons = tuple(versus(found[0], other) for other in found[1:])
    bundles = list(run.bundles.values())
    clocks = [event["clock_mhz"] for event in run.rounds().values()]
    return replace(
        plain, figures=found, comparisons=comparisons, carbon=carbon,
        cycles=full_cycles(found, comparisons, bundles, run.limits.batch, power, carbon),
        states=tuple(states), clocks=tuple(clocks), throttled=tuple(throttling(states)),
        unstable=tuple(unsteadiness(found, clocks)), notes=tuple(_notes(run, found)),
    )  # fmt: skip


def _learn(run: Run, found: Bench) -> None:
    """What can be believed is held against what was predicted; `host` was predicted for this machine alone, and any
    target for the providers that it prefers."""
    if found.throttled or found.unstable:
        return
    arch = run.description.arch
    for (name, bundle), each in zip(run.bundles.items(), found.figures, strict=False):
        if (run.device.url == "local" or bundle.manifest.get("target") != HOST) and not _absent(run, name, each):
            remember_bundle(bundle.manifest, run.threads, run.limits.batch, each.p50, arch=arch, device=run.device.url)


def _absent(run: Run, name: str, found: Figures) -> list[str]:
    """Providers that the target prefers and the runtime there lacks."""
    return [provider for provider in run.job(name)["providers"] if provider not in found.providers]


def _instructions(run: Run) -> dict[str, int]:
    counted = run.journal.by_id("counted")
    return {run.names[name]: an_inference(counted[name]) for name in run.bundles if name in counted}


def _uncounted(run: Run) -> Iterator[str]:
    if not run.description.counted:
        yield "instructions are not counted: `compress doctor --device` says what is missing"


def _figures(run: Run) -> tuple[Figures, ...]:
    golden, loaded, energy, decoded = (run.journal.by_id(n) for n in ("golden", "loaded", "energy", "decoded"))
    rounds, found = run.rounds(), []
    for name, bundle in run.bundles.items():
        blocks = {index: event["blocks"][name] for index, event in rounds.items() if name in event["blocks"]}
        found.append(
            figures(
                run.names[name], rows(bundle, run.limits.batch), bundle.tolerance, golden[name]["errors"],
                loaded[name], blocks, energy.get(name), decoded.get(name),
            )
        )  # fmt: skip
    return tuple(found)


def _notes(run: Run, found: Sequence[Figures]) -> Iterator[str]:
    for name, each in zip(run.bundles, found, strict=True):
        absent = _absent(run, name, each)
        if absent:
            used = ", ".join(each.providers)
            yield f"{each.name}: the runtime there has no {', '.join(absent)}; it ran on {used}"
        off = {output: error for output, error in each.errors_as_timed.items() if not error <= each.tolerance}
        for output, error in off.items():
            yield (
                f"{each.name}: the runtime's default kernels, which were timed, leave output {output!r} {error:.1e} "
                f"off (allowed {each.tolerance:.0e})"
            )
