"""The latency model bent to what cuts of this very network take on the board.

    the original ∪ { a mild and a severe cut by one pass alone } ∪ { bits everywhere }  ─ timed in turn ─▶  calibrate

A model that was fitted to other networks, or on another machine of the kind, may be right of the original and wrong of
what saves time there: where a call costs less than it says, narrow layers are faster than that, and dropped ones save
less. The fit is that of `devices/latency/calibration.py`. Cuts are decided on the board that is always the same
(`even.py`): they are those that recovery is probed with. Their times are kept for the board that they are of. A plan
whose artifact was measured is a further cut: what many options make together is in none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compressor.devices.latency.calibration import LEAST, Calibrated, calibrate
from compressor.devices.latency.corrected import Corrected
from compressor.graph.cost import LatencyModel
from compressor.graph.program import Program
from compressor.plan.menu import Place
from compressor.plan.parts import Sketch, sketched
from compressor.plan.probe import MILD, SEVERE, alone
from compressor.plan.realize import realize
from compressor.plan.solvers import choose_solver
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables
from compressor.targets.target import Target

__all__ = ["Bending", "Clocks", "bending"]


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


@dataclass(frozen=True)
class Bending:
    """Times of the original and of its cuts on a board, in that order, and the latency model that is bent to them."""

    base: LatencyModel
    target: Target
    where: str
    cuts: tuple[_Cut, ...]

    def and_of(self, program: Program, share: float) -> Bending:
        """With a further cut, which took that share of the original's time beside it."""
        return replace(self, cuts=(*self.cuts, _Cut(sketched(program), share * self.cuts[0].ms)))

    def model(self) -> Calibrated | None:
        """None where too few cuts were timed, or one takes no time by the base."""
        if len(self.cuts) < LEAST:
            return None
        estimates = [self.base.price(cut.sketch.outline, self.target) for cut in self.cuts]
        if not all(estimate.latency_ms > 0 for estimate in estimates):
            return None
        found = calibrate({"": estimates}, [cut.ms for cut in self.cuts])
        told = f"bent to {len(self.cuts)} cuts of this network on {self.where}"
        source = f"{estimates[0].source.partition(';')[0]}, {told}"
        return Calibrated(self.base, replace(found, base=source, measured={"original": self.cuts[0].ms}), source)


def bending(tables: Tables, swapper: Swapper, clocks: Clocks) -> Bending | None:
    """What the swapper's latency model is to be bent to for this network on that board; None without a model, and where
    nothing was timed. `tables` are those of the even board."""
    latency = swapper.context.latency
    if latency is None or not tables.sites:
        return None
    cuts = _kept(tables, swapper, clocks)
    base = latency.base if isinstance(latency, Corrected) else latency
    return Bending(base, swapper.context.target, clocks.where, tuple(cuts)) if cuts else None


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
