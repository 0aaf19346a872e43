"""Which latency model answers for a target: what was measured here, what came along, or the roofline.

the user's profile  ▷  a calibration  ▷  the built-in profile  ▷  the roofline        each corrected by its own past
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.devices.finite import finite_json
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
    "answering", "bases", "builtin_names", "builtin_profile", "calibration_file", "identity", "latency_model",
    "measured_processor", "processor", "user_profile",
]  # fmt: skip

_ROOFLINE = "roofline"
_BUILTIN = Path(__file__).resolve().parent.parent / "profiles"


def latency_model(target: Target) -> LatencyModel:
    """The best that is known of a target: of TVM on it, the roofline alone. Raises DeviceError for a profile or
    calibration that cannot be read."""
    if target.runtime.name == TVM:
        return Roofline()
    cpu = processor(target)
    base = _base(target, cpu)
    return Corrected(base, past(target.name, cpu, base.source))


def bases(target: Target) -> dict[str, LatencyModel]:
    """What a calibration may start from, by name: the roofline, and every profile that is known, of any device.

    Raises DeviceError for a profile that cannot be read.
    """
    cpu = processor(target)
    learned: dict[str, LatencyModel] = {name: _learned(folder, cpu) for name, folder in _profiles().items()}
    return {_ROOFLINE: Roofline(), **learned}


def identity(target: Target) -> str:
    """A digest of what answers for it: what was decided by another model is decided anew. A correction by one factor
    changes no decision and does not count."""
    file = answering(target)
    return _ROOFLINE if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


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


def measured_processor(target: Target, url: str, described: str) -> str:
    """The processor that a measurement by a device is of, as `processor` calls it. The system tells `host`'s name by
    other ways than a device `described` itself, and on Arm by other words."""
    return processor(target) if target.is_host and url == "local" else described


def _profiles() -> dict[str, Path]:
    """The folders of all profiles by name, the user's in the place of those that came along."""
    parents = (_BUILTIN, user_profile("x").parent)
    return {path.parent.name: path.parent for parent in parents for path in sorted(parent.glob("*/model.json"))}


def answering(target: Target) -> Path | None:
    """The file that a target is answered from here: model.json of a profile, or a calibration; None for the roofline,
    and so for TVM's artifacts: what was measured is of ONNX Runtime.

    Raises DeviceError for a calibration that cannot be read.
    """
    return None if target.runtime.name == TVM else _file(target, processor(target))


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
        return Calibration.from_json(finite_json(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"cannot be read: {error!r}", where=str(file), way_out="Calibrate anew, or remove the file."
        ) from error  # fmt: skip


def _calibrated(found: Calibration, target: Target) -> Calibrated:
    folder = _profiles().get(found.base)
    if folder is None and found.base != _ROOFLINE:
        raise DeviceError(
            f"it starts from the profile {found.base!r}, which is gone", where=str(calibration_file(target.name)),
            way_out="`compress calibrate` starts from what is there.",
        )  # fmt: skip
    base = Roofline() if folder is None else _learned(folder, processor(target))
    start = "the roofline" if folder is None else f"the profile {found.base}"
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
        data: dict[str, Any] = finite_json((folder / "model.json").read_text(encoding="utf-8"))
        models = {int(threads): read_model(model) for threads, model in data.items()}
        if not models:
            raise ValueError("no number of threads")
        return models
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DeviceError(
            f"cannot be read: {error!r}", where=str(folder / "model.json"),
            way_out=f"`compress profile --refit --out {folder}` fits it anew to its tables; or remove the folder.",
        ) from error  # fmt: skip
