"""A latency model is bent to what the network's own cuts take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.devices.latency.calibration import Calibrated
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.plan.clock import Clock
from compressor.plan.cuts import Clocks, bending
from compressor.plan.even import even
from compressor.plan.parts import sketched
from compressor.plan.realize import realize
from compressor.plan.swap import Swapper
from compressor.plan.tables import Tables, build
from compressor.targets import Figure

SLOWER = {"fp32": Figure(5e8, "test"), "int8": Figure(2e9, "test")}
TRULY = board(rates=SLOWER, bandwidth=Figure(5e8, "test"), node_overhead=Figure(2e-7, "test"))
"""Work takes twice the time that the model says, and a call a fifth."""


def _truth(programs: Sequence[Program]) -> list[float | None]:
    return [Roofline().predict(each, TRULY).latency_ms for each in programs]


def _fresh(folder: Path, clock: Clock | None = None) -> tuple[Tables, Swapper]:
    known = weighed()
    swapper = Swapper(known.program, known.context, Shelf(Cache(folder), "test"), clock or Clock())
    return build(known.places, known.measured.survey.on(even(known.context))), swapper


def _bent(tables: Tables, swapper: Swapper, clocks: Clocks) -> Calibrated | None:
    timed = bending(tables, swapper, clocks)
    return None if timed is None else timed.model()


def test_it_tells_the_board_s_times_of_cuts_that_it_has_not_seen(tmp_path: Path) -> None:
    tables, swapper = _fresh(tmp_path)
    found = _bent(tables, swapper, Clocks("a test", "a test", _truth))
    assert found is not None
    assert "cuts of this network on a test" in found.source
    sketches = [seen.sketch for listed in weighed().measured.survey.effects.values() for seen in listed if seen][::9]
    assert len(sketches) > 3
    for sketch in (swapper.sketch, *sketches):
        truth = Roofline().price(sketch.outline, TRULY).latency_ms
        told = found.price(sketch.outline, swapper.context.target).latency_ms
        off = abs(told / truth - 1)
        assert off < 0.1
        assert off < abs(Roofline().price(sketch.outline, swapper.context.target).latency_ms / truth - 1)


def test_times_are_kept_for_that_board_alone(tmp_path: Path) -> None:
    tables, swapper = _fresh(tmp_path)
    assert _bent(tables, swapper, Clocks("a test", "a test")) is None, "nothing was timed"
    first = _bent(tables, swapper, Clocks("a test", "a test", _truth))
    again = _bent(tables, swapper, Clocks("a test", "a test"))
    assert first is not None
    assert again is not None
    assert again.calibration == first.calibration
    assert _bent(tables, swapper, Clocks("a test", "another")) is None


def test_what_does_not_run_there_is_left_out(tmp_path: Path) -> None:
    tables, swapper = _fresh(tmp_path)

    def some(programs: Sequence[Program]) -> list[float | None]:
        return [each if index % 2 == 0 else None for index, each in enumerate(_truth(programs))]

    whole = _bent(tables, swapper, Clocks("whole", "whole", _truth))
    part = _bent(tables, swapper, Clocks("part", "part", some))
    assert whole is not None
    assert part is not None
    assert "bent to" in part.source
    assert int(part.source.split("bent to ")[1].split()[0]) < int(whole.source.split("bent to ")[1].split()[0])


@pytest.mark.parametrize("times", [lambda programs: [], lambda programs: [1.0, 1.0] + [None] * (len(programs) - 2)])
def test_too_few_bend_nothing(times: object, tmp_path: Path) -> None:
    tables, swapper = _fresh(tmp_path)
    assert _bent(tables, swapper, Clocks("a test", "a test", times)) is None  # type: ignore[arg-type]


def test_nothing_is_timed_once_the_time_is_over_nor_without_a_model(tmp_path: Path) -> None:
    tables, hasty = _fresh(tmp_path, Clock(0.0))
    assert _bent(tables, hasty, Clocks("a test", "a test", _truth)) is None
    blind = Swapper(hasty.program, replace(hasty.context, latency=None), hasty.shelf)
    assert _bent(tables, blind, Clocks("a test", "a test", _truth)) is None


def test_a_plan_that_was_measured_bends_it_further(tmp_path: Path) -> None:
    """A cut that takes half of what is said of it: the model comes nearer."""
    tables, swapper = _fresh(tmp_path)
    timed = bending(tables, swapper, Clocks("a test", "a test", _truth))
    assert timed is not None
    picks = tuple(len(site.options) - 1 for site in tables.sites)
    built = realize(tables, picks, swapper.program, swapper.making).program
    outlined, target = sketched(built).outline, swapper.context.target

    def said(found: Calibrated | None) -> float:
        assert found is not None
        return found.price(outlined, target).latency_ms / found.price(swapper.sketch.outline, target).latency_ms

    share = said(timed.model())
    further = timed.and_of(built, share / 2)
    assert further.model() is not None
    assert f"bent to {len(timed.cuts) + 1} cuts" in further.model().source  # type: ignore[union-attr]
    assert share / 2 < said(further.model()) < share
    assert len(timed.cuts) == len(further.cuts) - 1
