"""`compress calibrate`: a handful of small networks measured on a device, and the target's latency model bent to them.

draw ─ capture, quantize, lower for the target ─ time on the device ─ bend the roofline or a profile ─ keep
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from compressor.devices.device import Device
from compressor.devices.latency.calibration import Calibration, calibrate
from compressor.devices.latency.lookup import bases, calibration_file, measured_processor
from compressor.devices.latency.networks import network
from compressor.devices.latency.subject import Subject, lower
from compressor.devices.model_timing import Job, Timing, time_models
from compressor.devices.suitable import check_architecture, check_provider
from compressor.errors import CompressError, DeviceError, OutputError
from compressor.graph.contract import Progress
from compressor.graph.cost import Estimate
from compressor.profile_files import check_folder, told
from compressor.profile_networks import How, captured
from compressor.targets.target import Target

__all__ = ["CHOSEN", "calibrate_target"]

CHOSEN: tuple[tuple[str, int, How], ...] = (
    ("residual", 2, "plain"), ("inverted", 3, "plain"), ("encoder", 2, "plain"), ("residual", 4, "int8"),
    ("plain", 1, "plain"), ("decoder", 3, "plain"), ("inverted", 5, "int8"), ("vision", 4, "plain"),
    ("separable", 2, "plain"), ("dense", 3, "plain"), ("plain", 6, "int8"), ("branched", 1, "plain"),
)  # fmt: skip
"""Networks to measure, the most telling ones first: style, seed, format."""


def calibrate_target(
    device: Device, target: Target, work: Path, *, models: int = 10, threads: int | None = None,
    timing: Timing = Timing(runs=20, seconds=0.5), progress: Progress = Progress(),  # noqa: B008  neither has a state
) -> Calibration:  # fmt: skip
    """Measure, fit and keep; the same call goes on where a device was lost.

    Raises DeviceError for an emulated device, one of another architecture than the target or without its preferred
    accelerator, or one that runs fewer than three of the networks; OutputError where the result cannot be written.
    """
    description = device.describe()
    if not description.timed:
        raise DeviceError("it is emulated: its time means nothing", where=device.url)
    check_architecture(description.arch, target, device.url)
    check_provider(device, target)
    check_folder(calibration_file(target.name).parent)
    with told(work):
        work.mkdir(parents=True, exist_ok=True)
    candidates = bases(target)
    subjects: list[Subject] = []
    estimates: dict[str, list[Estimate]] = {name: [] for name in candidates}
    for style, seed, how in progress.over(CHOSEN[:models], "making networks"):
        drawn = network(style, seed)
        try:
            program = captured(drawn.module, drawn.example, {}, how, seed, target)
            with told(work):
                subject = lower(program, target, work, f"{style}-{seed}-{how}", style)
        except OutputError:  # a full disk would leave out every one
            raise
        except CompressError as error:
            progress.say(f"left out: {style} in {how}: {error}")
            continue
        subjects.append(subject)
        for name, model in candidates.items():
            estimates[name].append(model.predict(program, target, threads=threads))
    count = threads or target.threads
    providers = tuple(provider.name for provider in target.providers)
    jobs = [Job(subject.model, subject.feeds(), count, providers) for subject in subjects]
    timed = time_models(device, jobs, timing, folder=work, progress=progress)
    for subject, each in zip(subjects, timed, strict=True):
        if not each.rounds or each.throttled:
            progress.say(f"left out: {subject.name}: {each.error or '; '.join(each.throttled)}")
    good = [index for index, each in enumerate(timed) if each.rounds and not each.throttled]
    if len(good) < 3:
        raise DeviceError(f"{len(good)} of {len(jobs)} networks ran undisturbed, 3 are the least", where=device.url)
    usable = {name: [listed[index] for index in good] for name, listed in estimates.items()}
    found = calibrate(usable, [timed[index].median_ms for index in good])
    cpu = measured_processor(target, device.url, description.cpu)
    about = {
        "device": device.url, "cpu": cpu, "onnxruntime": description.runtimes.get("onnxruntime", ""),
        "threads": count, "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }  # fmt: skip
    measured = {subjects[index].name: timed[index].median_ms for index in good}
    found = replace(found, measured=measured, about=about)
    _keep(target, found)
    return found


def _keep(target: Target, found: Calibration) -> None:
    file = calibration_file(target.name)
    with told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        new.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
        new.replace(file)
