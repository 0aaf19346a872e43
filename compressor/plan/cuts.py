"""The latency model bent to what cuts of this very network take on the board.

    the original ∪ { a mild and a severe cut by one pass alone } ∪ { bits everywhere }  ─ timed in turn ─▶  calibrate

A model that was fitted to other networks, or on another machine of the kind, may be right of the original and wrong of
what saves time there: where a call costs less than it says, narrow layers are faster than that, and dropped ones save
less. The fit is that of `devices/latency/calibration.py`. Cuts are decided on the board that is always the same
(`even.py`): they are those that recovery is probed with. Their times are kept for the board that they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compressor.devices.latency.calibration import LEAST, Calibrated, calibrate
from compressor.devices.latency.corrected import Corrected
from compressor.graph.program import Program
from compressor.plan.menu import Place
from compressor.plan.parts import Sketch, sketched
from compressor.plan.probe import MILD, SEVERE, alone
from compressor.plan.realize import realize
from compressor.plan.solvers import choose_solver
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables

__all__ = ["Clocks", "bent_model"]


@dataclass(frozen=True)
class Clocks:
    """What tells times: `where`, in words; what is kept `kept_as` that board's alone; and `times` of programs side by
    side in milliseconds, None of one that does not run there. Without `times` only what was kept is known."""

    where: str
    kept_as: str
    times: Callable[[Sequence[Program]], Sequence[float | None]] | None = None


@dataclass(frozen=True)
class _Cut:
    sketch: Sketch
    ms: float


def bent_model(tables: Tables, swapper: Swapper, clocks: Clocks) -> Calibrated | None:
    """The swapper's latency model as it is for this network on that board; None without one, and where too few of its
    cuts were timed. `tables` are those of the even board."""
    latency = swapper.context.latency
    if latency is None or not tables.sites:
        return None
    base = latency.base if isinstance(latency, Corrected) else latency
    cuts = _kept(tables, swapper, clocks)
    if len(cuts) < LEAST:
        return None
    estimates = [base.price(cut.sketch.outline, swapper.context.target) for cut in cuts]
    if not all(estimate.latency_ms > 0 for estimate in estimates):
        return None
    found = calibrate({"": estimates}, [cut.ms for cut in cuts])
    source = f"{estimates[0].source.partition(';')[0]}, bent to {len(cuts)} cuts of this network on {clocks.where}"
    return Calibrated(base, replace(found, base=source, measured={"original": cuts[0].ms}), source)


def _kept(tables: Tables, swapper: Swapper, clocks: Clocks) -> list[_Cut]:
    """What an earlier run timed there, or this one does while there is time; the original first."""
    key = f"times of cuts {swapper.digest} {tables.digest()} {clocks.kept_as}"
    known = swapper.shelf.recall(key, lambda said: [_read(each, swapper) for each in said])
    if known is not None:
        return known
    if clocks.times is None or swapper.clock.over():
        return []
    programs = [swapper.program, *_programs(tables, swapper)]
    times = clocks.times(programs)
    if not times or times[0] is None:
        return []
    found = [_Cut(sketched(each), ms) for each, ms in zip(programs, times, strict=True) if ms is not None]
    swapper.shelf.keep(
        key, [{"sketch": swapper.differences.written(cut.sketch), "ms": cut.ms} for cut in found]
    )  # fmt: skip
    return found


def _read(said: Any, swapper: Swapper) -> _Cut:
    return _Cut(swapper.differences.read(said["sketch"]), float(said["ms"]))


def _programs(tables: Tables, swapper: Swapper) -> Iterator[Program]:
    """The cuts, untrained."""
    structural = [place.means.name for place in tables.places if place.means.structural]
    for name in swapper.making.progress.over(list(dict.fromkeys(structural)), "cutting to time"):
        for share in (MILD, SEVERE):
            problem = alone(name, share, tables)
            picks = choose_solver(problem).solver.solve(problem)[0].picks
            if any(picks):
                yield realize(tables, picks, swapper.program, swapper.making).program
    for level in dict.fromkeys(_levels(tables)):
        picks = tuple(
            _pick(place, numbers, level) for place, numbers in zip(tables.places, tables.numbers, strict=True)
        )
        yield realize(tables, picks, swapper.program, swapper.making).program


def _levels(tables: Tables) -> Iterator[tuple[str, str]]:
    """Of passes that pay together, by pass."""
    for place, numbers in zip(tables.places, tables.numbers, strict=True):
        if place.means.together:
            yield from ((place.means.name, place.options[number].level) for number in numbers)


def _pick(place: Place, numbers: Sequence[int], level: tuple[str, str]) -> int:
    """The option of that level; 0 where there is none."""
    levels = [(place.means.name, place.options[number].level) for number in numbers]
    return levels.index(level) + 1 if level in levels else 0
