"""Which latency model answers for a target: a profile measured here, the one that came along, or the roofline.

the user's profile of the target  ▷  the built-in one  ▷  the roofline        each corrected by its own past
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.devices.latency.corrected import Corrected
from compressor.devices.latency.history import past
from compressor.devices.latency.learned import Learned
from compressor.devices.latency.model import LearnedLatency
from compressor.devices.latency.profile import read_about
from compressor.devices.registry import config_file
from compressor.errors import DeviceError
from compressor.graph.cost import ROOFLINE, LatencyModel, Roofline
from compressor.targets.machine import this_machine
from compressor.targets.target import Target

__all__ = ["builtin_profile", "identity", "latency_model", "processor", "user_profile"]

_BUILTIN = Path(__file__).resolve().parent.parent / "profiles"


def latency_model(target: Target) -> LatencyModel:
    """The best that is known of a target. Raises DeviceError for a profile that cannot be read."""
    cpu = processor(target)
    folder = _folder(target)
    if folder is None:
        return Corrected(Roofline(), past(target.name, cpu, ROOFLINE))
    base = _learned(folder, cpu)
    return Corrected(base, past(target.name, cpu, base.source))


def identity(target: Target) -> str:
    """A digest of the model that answers for it: what was decided by another one is decided anew. A correction by one
    factor changes no decision and does not count."""
    folder = _folder(target)
    return "roofline" if folder is None else hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()


def user_profile(name: str) -> Path:
    """Where `compress profile` keeps what it measured for a target."""
    return config_file().with_name("profiles") / name


def builtin_profile(target: Target) -> Path | None:
    """What came along for it. That of `host` is one of an x86-64 machine."""
    folder = _BUILTIN / (f"host-{target.arch}" if target.is_host else target.name)
    return folder if folder.is_dir() else None


def processor(target: Target) -> str:
    """The processor that measurements are of: this machine's for `host`, "" where the target says which."""
    return this_machine().cpu if target.is_host else ""


def _folder(target: Target) -> Path | None:
    for folder in (user_profile(target.name), builtin_profile(target)):
        if folder is not None and (folder / "model.json").is_file():
            return folder
    return None


def _learned(folder: Path, cpu: str) -> LearnedLatency:
    about = read_about(folder)
    measured_on = str(about.get("cpu", ""))
    calibrated = not cpu or measured_on == cpu
    source = f"a profile of {measured_on}, onnxruntime {about.get('onnxruntime')}, {about.get('kernels')} kernels"
    if not calibrated:
        source += "; this is another processor: `compress profile` measures it"
    return LearnedLatency(_models(folder, (folder / "model.json").stat().st_mtime_ns), source, calibrated=calibrated)


@functools.lru_cache(maxsize=4)
def _models(folder: Path, _changed: int) -> Mapping[int, Learned]:
    """By threads; read once a process and version of the file."""
    try:
        data: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return {int(threads): Learned.from_json(model) for threads, model in data.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"cannot be read: {error!r}", where=str(folder / "model.json"),
            way_out="Measure it anew with `compress profile`, or remove the folder.",
        ) from error  # fmt: skip
