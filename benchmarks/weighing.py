"""A subject with everything weighed that could be done to it, for the benchmarks of the planner."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from subjects import Subject

from compressor.cache import Cache, Shelf
from compressor.devices.latency.lookup import latency_model
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.plan.menu import collect
from compressor.plan.planner import Planner
from compressor.plan.swap import Swapper
from compressor.targets import Target, load_target

__all__ = ["CALIBRATION", "Weighed", "weigh"]

CALIBRATION, TRAINING = 256, 4096  # samples


@dataclass(frozen=True)
class Weighed:
    """The folded network, what passes may ask for, and a planner that knows every option."""

    program: Program
    context: Context
    planner: Planner


def weigh(
    subject: Subject, folder: Path, axes: Collection[str] = ("latency",), target: Target | None = None
) -> Weighed:
    """Measure every option, or read what an earlier run with the same folder measured."""
    board = target or load_target("host")
    context = Context(
        board, latency=latency_model(board), calibration=subject.batches(CALIBRATION, 1),
        training=subject.batches(TRAINING, 2), synthetic=False, teacher=subject.program,
    )  # fmt: skip
    program = Fold().run(subject.program, context).program
    shelf = Shelf(Cache(folder / "weighed"), subject.name)
    places = collect(program, context, axes, shelf=shelf)
    swapper = Swapper(program, context, shelf)
    return Weighed(program, context, Planner(swapper, places, swapper.measure(places)))
