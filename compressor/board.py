"""The board of `--device`: candidates are measured there, beside the original, as `compress bench` measures bundles.

    artifact ─ the least bundle ─ golden vectors there ─ rounds in turn ─▶ measurements

A board that is lost in the middle is reached once more; where that fails, the run goes on by what is known and says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compressor.devices.bench import Bench, Limits, bench
from compressor.devices.device import Description
from compressor.devices.figures import Figures
from compressor.devices.local import Measurement
from compressor.devices.opening import open_device
from compressor.devices.remote import on_device
from compressor.devices.suitable import check_architecture, check_provider
from compressor.devices.tvm_runner import TVM_RUNNER
from compressor.errors import CompressError, DeviceError, DeviceLostError, ExportError, MismatchError, UnsupportedError
from compressor.graph.contract import Progress
from compressor.targets import Target
from compressor.targets.tvm import TVM

__all__ = ["Board", "Readings", "reach"]

_START = 300.0  # seconds: a slow board's start of Python and the runtime
_TIMES = 2  # that a measurement is begun where the board is lost
OWN_FAULTS = (MismatchError, ExportError, UnsupportedError)  # of what is measured, and not of the board


@dataclass(frozen=True)
class Readings:
    """What was measured of some bundles in turn; `answers` are milliseconds until a decoder's first token, `steady`
    whether the figures can be believed, `notes` what to know of them. No measurements where the board does not tell
    times, or no longer answers."""

    measurements: tuple[Measurement, ...] = ()
    answers: tuple[float | None, ...] = ()
    steady: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class Board:
    """One that was reached. `lost` says why it answers no more, `troubles` are sentences on what went wrong with it."""

    url: str
    description: Description
    limits: Limits
    folder: Path
    progress: Progress = Progress()  # noqa: RUF009  it has no state
    lost: str = ""
    troubles: list[str] = field(default_factory=list)

    @property
    def times(self) -> bool:
        """Whether it tells times: it is not emulated, and still answers."""
        return self.description.timed and not self.lost

    @property
    def name(self) -> str:
        """As bundles and reports may tell it, which go elsewhere: its URL without users and options."""
        return re.sub(r"//[^@/]*@", "//", self.url.partition("?")[0])

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.name} ({self.description.cpu})" if self.description.cpu else self.name

    def compare(self, bundles: Sequence[Path], *, strict: bool = False) -> Readings:
        """Measure bundles in turn. What goes wrong is noted; with `strict`, what a bundle itself is to blame for is
        raised: MismatchError, ExportError or UnsupportedError."""
        if self.lost:
            return Readings()
        try:
            found = self._measured(bundles)
        except OWN_FAULTS as error:
            if strict:
                raise
            self._trouble(f"not measured on {self.where}: {error}")
            return Readings()
        except DeviceLostError as error:
            self.lost = str(error.what)
            self._trouble(
                f"{self.where} stopped answering ({error.what}): what came after is predicted; `compress bench` "
                "measures the bundle there"
            )
            return Readings()
        except CompressError as error:  # it slowed itself down, or refused for now
            self._trouble(f"not measured on {self.where}: {error}")
            return Readings()
        notes = tuple(f"{self.where}: {note}" for note in found.notes)
        if not found.timed:
            return Readings(notes=(*notes, _verified(self.where, found)))
        answers = tuple(None if each.answer is None else each.answer.first_ms for each in found.figures)
        varied = tuple(f"{self.where}: {each}" for each in found.unstable)
        return Readings(_measurements(found), answers, not (found.unstable or found.throttled), (*notes, *varied))

    def _measured(self, bundles: Sequence[Path]) -> Bench:
        """Begun again once where it is lost: what was finished is kept."""
        for attempt in range(_TIMES):
            try:
                with open_device(self.url) as device:
                    return bench(device, bundles, self.limits, folder=self.folder, progress=self.progress)
            except DeviceLostError:
                if attempt + 1 == _TIMES:
                    raise
                self.progress.say(f"{self.name} stopped answering; trying once more")
            except DeviceError as error:
                if attempt == 0:
                    raise
                raise DeviceLostError(error.what, where=error.where, way_out=error.way_out) from error
        raise AssertionError("it is measured, or lost")

    def _trouble(self, text: str) -> None:
        if text not in self.troubles:
            self.progress.say(text)
            self.troubles.append(text)


def reach(
    url: str, target: Target, folder: Path, *, batch: int, threads: int | None, progress: Progress
) -> Board:  # fmt: skip
    """The board at a URL or of a saved name, once it is sure that it answers, is of the target's kind and has what runs
    artifacts. `folder` keeps what a measurement has while it runs. Raises DeviceError."""
    with open_device(url) as device:
        progress.say(f"reaching {device.url}")
        description = device.describe()
        check_architecture(description.arch, target, device.url)
        if target.runtime.name == TVM:
            TVM_RUNNER.fits(device, description)
        else:
            with on_device(device) as remote:
                remote.run("check", [], timeout=_START, on_event=lambda event: None)
            if description.timed:
                check_provider(device, target)
        limits = Limits(batch=batch, threads=threads or target.threads)
        return Board(device.url, description, limits, folder, progress)


def _verified(where: str, found: Bench) -> str:
    """Of an emulated board."""
    worst = max((error for errors in found.errors.values() for error in errors.values()), default=0.0)
    ratios = [f"{ratio:.2f}" for ratio in list(found.instruction_ratios.values())[1:]]
    counted = f"; it takes {', '.join(ratios)} times the original's instructions" if ratios else ""
    return f"golden vectors agree on {where} to {worst:.1e}{counted}; it is emulated, and tells no time"


def _measurements(found: Bench) -> tuple[Measurement, ...]:
    """With the rounds that all were in."""
    shared = sorted(set.intersection(*(set(each.rounds) for each in found.figures)))
    return tuple(_measurement(each, shared, found) for each in found.figures)


def _measurement(each: Figures, shared: Sequence[int], found: Bench) -> Measurement:
    name = "tvm" if "TVM" in each.providers else "onnxruntime"
    return Measurement(
        load_ms=each.load_ms, first_ms=each.first_ms, p50=each.p50, p90=each.p90, p99=each.p99, min=each.min,
        runs=each.runs, threads=found.threads, runtime=f"{name} {found.versions.get(name, '')}".strip(),
        peak_memory_bytes=each.peak_memory_bytes, rounds=tuple(each.rounds[index] for index in shared),
    )  # fmt: skip
