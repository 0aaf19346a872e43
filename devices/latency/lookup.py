"""Which latency model answers for a target: what was measured here, what came along, or the roofline.

the user's profile  ▷  a calibration  ▷  the built-in profile  ▷  the roofline        each corrected by its own past
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.devices.latency.calibration import Calibrated, Calibration
from compressor.devices.latency.corrected import Corrected
from compressor.devices.latency.history import past
from compressor.devices.latency.kinds import TOKENS, read_model
from compressor.devices.latency.model import LearnedLatency
from compressor.devices.latency.predicted import CallModel
from compressor.devices.latency.profile import read_about
from compressor.devices.registry import config_file
from compressor.errors import DeviceError
from compressor.graph.cost import LatencyModel, Roofline
from compressor.targets.machine import this_machine
from compressor.targets.target import Target
from compressor.targets.tvm import TVM

__all__ = [
    "bases", "builtin_names", "builtin_profile", "calibration_file", "identity", "latency_model", "processor",
    "user_profile",
]  # fmt: skip

_BUILTIN = Path(__file__).resolve().parent.parent / "profiles"


def latency_model(target: Target) -> LatencyModel:
    """The best that is known of a target: of TVM on it, the roofline alone. Raises DeviceError for a profile or
    calibration that cannot be read."""
    if target.runtime.name == TVM:  # what was measured is of ONNX Runtime
        return Roofline()
    cpu = processor(target)
    base = _base(target, cpu)
    return Corrected(base, past(target.name, cpu, base.source))


def bases(target: Target) -> dict[str, LatencyModel]:
    """What a calibration may start from, by name: the roofline, and every profile that is known, of any device."""
    cpu, found = processor(target), dict[str, LatencyModel](roofline=Roofline())
    for parent in (_BUILTIN, user_profile("x").parent):
        for folder in sorted(path.parent for path in parent.glob("*/model.json")):
            found[folder.name] = _learned(folder, cpu)
    return found


def identity(target: Target) -> str:
    """A digest of what answers for it: what was decided by another model is decided anew. A correction by one factor
    changes no decision and does not count."""
    file = None if target.runtime.name == TVM else _file(target, processor(target))
    return "roofline" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def user_profile(name: str) -> Path:
    """Where `compress profile` keeps what it measured for a target."""
    return config_file().with_name("profiles") / name


def calibration_file(name: str) -> Path:
    """Where `compress calibrate` keeps what it found for a target."""
    return config_file().with_name("calibrations") / f"{name}.json"


def builtin_profile(target: Target) -> Path | None:
    """What came along for it. Those of `host` are of x86-64 machines, "-v4" of one with vectors of 512 bits: the
    runtime has other kernels and other layouts for these."""
    return next((_BUILTIN / name for name in builtin_names(target) if (_BUILTIN / name).is_dir()), None)


def builtin_names(target: Target) -> tuple[str, ...]:
    """What the folder of a built-in profile may be called, the most fitting first."""
    if not target.is_host:
        return (target.name,)
    wide = "avx512f" in this_machine().features
    return (*([f"host-{target.arch}-v4"] if wide else []), f"host-{target.arch}")


def processor(target: Target) -> str:
    """The processor that measurements are of: this machine's for `host`, "" where the target says which."""
    return this_machine().cpu if target.is_host else ""


def _base(target: Target, cpu: str) -> Roofline | LearnedLatency | Calibrated:
    file = _file(target, cpu)
    if file is None:
        return Roofline()
    if file == calibration_file(target.name):
        return _calibrated(_calibration(file), target)
    return _learned(file.parent, cpu)


def _file(target: Target, cpu: str) -> Path | None:
    """model.json of a profile, a calibration, or None where nothing was measured."""
    own, calibration = user_profile(target.name) / "model.json", calibration_file(target.name)
    if own.is_file():
        return own
    if calibration.is_file() and (not cpu or _calibration(calibration).about.get("cpu") == cpu):
        return calibration
    builtin = builtin_profile(target)
    return builtin / "model.json" if builtin is not None and (builtin / "model.json").is_file() else None


def _calibration(file: Path) -> Calibration:
    try:
        return Calibration.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"cannot be read: {error!r}", where=str(file), way_out="Calibrate anew, or remove the file."
        ) from error  # fmt: skip


def _calibrated(found: Calibration, target: Target) -> Calibrated:
    base = bases(target).get(found.base)
    if base is None:
        raise DeviceError(
            f"it starts from the profile {found.base!r}, which is gone", where=str(calibration_file(target.name)),
            way_out="`compress calibrate` starts from what is there.",
        )  # fmt: skip
    start = "the roofline" if found.base == "roofline" else f"the profile {found.base}"
    source = f"{start}, calibrated by {len(found.measured)} networks measured on {found.about.get('cpu')}"
    return Calibrated(base, found, source)


def _learned(folder: Path, cpu: str) -> LearnedLatency:
    about = read_about(folder)
    measured_on = str(about.get("cpu", ""))
    calibrated = not cpu or measured_on == cpu
    source = f"a profile of {measured_on}, onnxruntime {about.get('onnxruntime')}, {about.get('kernels')} kernels"
    models = _models(folder, (folder / "model.json").stat().st_mtime_ns)
    if any(model.kind == TOKENS for model in models.values()):
        source += " read as tokens"
    if not calibrated:
        source += "; this is another processor: `compress calibrate` or `compress profile` measures it"
    return LearnedLatency(models, source, calibrated=calibrated)


@functools.lru_cache(maxsize=4)
def _models(folder: Path, _changed: int) -> Mapping[int, CallModel]:
    """By threads; read once a process and version of the file."""
    try:
        data: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return {int(threads): read_model(model) for threads, model in data.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"cannot be read: {error!r}", where=str(folder / "model.json"),
            way_out=f"`compress profile --refit --out {folder}` fits it anew to its tables; or remove the folder.",
        ) from error  # fmt: skip
