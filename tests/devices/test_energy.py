"""Energy, carbon and break-even, to numbers that can be worked out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.devices.energy import (
    WORLD,
    BreakEven,
    Carbon,
    Span,
    break_even,
    estimated_energy,
    full_cycle,
    inference_energy,
    saving_by_ratio,
)

GRID = Carbon(500.0, "test")


def exact(extra: float, saving: float) -> BreakEven:
    return break_even(Span.exactly(extra), Span.exactly(saving))


def test_a_thousand_inferences_in_kwh_and_grams() -> None:
    found = inference_energy(Span.exactly(3.6), measured=True, source="S", carbon=GRID, above_idle_joules=2.0)
    assert found.kwh_per_1000 == pytest.approx(1e-3)  # 3600 J
    assert found.co2e_g_per_1000 == pytest.approx(0.5)
    assert (found.label, found.above_idle_joules) == ("measured", 2.0)


def test_an_estimate_is_latency_times_power_a_sample_and_says_so() -> None:
    found = estimated_energy(Span(8.0, 10.0, 20.0), 5.0, "data sheet", GRID, rows=2)
    assert found.joules == Span(pytest.approx(0.02), pytest.approx(0.025), pytest.approx(0.05))  # type: ignore[arg-type]
    assert (found.label, found.source) == ("estimated", "estimated: latency × 5 W (data sheet)")
    assert found.above_idle_joules is None


def test_the_default_intensity_is_an_assumption_with_its_source() -> None:
    assert WORLD.g_per_kwh == 475
    assert WORLD.source.startswith("assumed: ")
    assert "IEA" in WORLD.source


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_an_intensity_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no carbon intensity"):
        Carbon(value, "test")


@pytest.mark.parametrize(
    ("extra", "saving", "expected"),
    [
        (100.0, 0.5, BreakEven("from", 200.0, 200.0, 200.0)),
        (-100.0, -0.5, BreakEven("until", 200.0, 200.0, 200.0)),
        (-100.0, 0.5, BreakEven("always")),
        (0.0, 0.5, BreakEven("always")),
        (-100.0, 0.0, BreakEven("always")),
        (100.0, -0.5, BreakEven("never")),
        (100.0, 0.0, BreakEven("never")),
        (0.0, -0.5, BreakEven("never")),
        (0.0, 0.0, BreakEven("equal")),
    ],
)
def test_every_case_of_break_even(extra: float, saving: float, expected: BreakEven) -> None:
    assert exact(extra, saving) == expected


def test_intervals_of_the_inputs_bound_the_count() -> None:
    assert break_even(Span(80, 100, 120), Span(0.4, 0.5, 0.8)) == BreakEven(
        "from", 200.0, 100.0, pytest.approx(300.0), True
    )
    assert break_even(Span(-120, -100, -80), Span(-0.8, -0.5, -0.4)) == BreakEven(
        "until", 200.0, 100.0, pytest.approx(300.0), True
    )


def test_an_interval_that_allows_another_answer_is_not_sure() -> None:
    assert break_even(Span.exactly(100), Span(-0.1, 0.5, 1.0)) == BreakEven("from", 200.0, 100.0, None, False)
    assert break_even(Span(-10, 100, 200), Span.exactly(0.5)) == BreakEven("from", 200.0, 0.0, 400.0, False)
    assert break_even(Span.exactly(-5), Span(-0.1, 0.5, 1.0)) == BreakEven("always", sure=False)
    assert break_even(Span.exactly(5), Span(-1.0, -0.5, 0.1)) == BreakEven("never", sure=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        break_even(Span.exactly(value), Span.exactly(1.0))
    with pytest.raises(ValueError, match="finite"):
        break_even(Span.exactly(1.0), Span(0.0, 1.0, value))


@given(*[st.floats(0.001, 1e6)] * 4)
def test_at_break_even_both_lives_have_cost_the_same(make_old: float, old: float, make_new: float, new: float) -> None:
    found = exact(make_new - make_old, old - new)
    if found.count is not None:
        gap = full_cycle(make_new, new, found.count) - full_cycle(make_old, old, found.count)
        scale = make_new + make_old + found.count * (old + new)
        assert abs(gap) <= 1e-9 * scale
        before, after = (full_cycle(make_new, new, k) < full_cycle(make_old, old, k) for k in (0.0, 2 * found.count))
        assert (before, after) == ((False, True) if found.when == "from" else (True, False))


def test_a_saving_from_a_ratio_keeps_its_interval() -> None:
    saved: Any = saving_by_ratio(2.0, Span(0.5, 0.6, 1.1))
    assert (saved.low, saved.value, saved.high) == pytest.approx((-0.2, 0.8, 1.0))


def test_spans_subtract_to_the_widest() -> None:
    assert Span(1, 2, 3) - Span(0, 1, 5) == Span(-4, 1, 3)
