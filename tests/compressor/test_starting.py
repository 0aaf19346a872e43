"""Where planning begins: limits in the planner's units, and the model bent to the network's cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor import api
from compressor.devices.latency.lookup import latency_model
from compressor.errors import InputError
from compressor.graph.program import Program
from compressor.plan.cuts import Clocks
from compressor.starting import Start, own_axis, start
from compressor.targets import load_target

pytestmark = pytest.mark.usefixtures("weighed_once")

PI = "raspberry-pi-5"


class _BegunError(Exception):
    pass


def _begun(
    digits: Path, monkeypatch: pytest.MonkeyPatch, clocks: Clocks | None = None, original_ms: float | None = None,
    target: str = PI, **budgets: str,
) -> Start:  # fmt: skip
    """What a command begins to plan with."""
    found: list[Start] = []

    def begin(*given: Any) -> Start:
        found.append(start(*given[:4], clocks, original_ms))
        raise _BegunError

    monkeypatch.setattr(api, "start", begin)
    with pytest.raises(_BegunError):
        api.compress(digits / "model.pt", target, data=digits / "data.npz", recover="none", dry_run=True, **budgets)
    return found[0]


def test_budgets_are_limits_in_the_planners_units(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = _begun(digits, monkeypatch, latency="0.5x", size="0.25x", memory="1MB")
    base = begun.planner.base
    assert begun.limits["latency"] == pytest.approx(0.5 * base.latency_ms, rel=0.02)
    assert begun.limits["size"] == pytest.approx(0.25 * base.bytes, rel=0.02)
    assert begun.limits["memory"] == 1e6
    assert begun.off == 1.0
    assert begun.bent is None


def test_what_the_original_takes_decides_what_a_millisecond_is(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _begun(digits, monkeypatch, latency="1ms")
    twice = _begun(digits, monkeypatch, None, 2 * plain.factor * plain.planner.base.latency_ms, latency="1ms")
    assert twice.limits["latency"] == pytest.approx(plain.limits["latency"] / 2, rel=0.02)
    assert twice.off == pytest.approx(2.0, rel=0.02)


def test_energy_is_time_by_what_the_board_draws(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_axis("energy") == "latency"
    assert own_axis("size") == "size"
    begun = _begun(digits, monkeypatch, energy="0.5x")
    assert begun.limits["latency"] == pytest.approx(0.5 * begun.planner.base.latency_ms, rel=0.02)
    monkeypatch.setattr("compressor.starting.power_of", lambda *_: None)
    monkeypatch.setattr(api, "start", start)
    with pytest.raises(InputError, match="does not declare its power"):
        api.compress(digits / "model.pt", PI, data=digits / "data.npz", recover="none", dry_run=True, energy="0.5x")


def test_the_model_is_bent_to_what_cuts_take_there(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target(PI)
    fast = replace(target, node_overhead=replace(target.node_overhead, value=0.1 * target.node_overhead.value))

    def times(programs: Sequence[Program]) -> list[float | None]:
        return [latency_model(fast).predict(each, fast).latency_ms for each in programs]

    plain = _begun(digits, monkeypatch, latency="0.5x")
    bent = _begun(digits, monkeypatch, Clocks("a test", "test_starting", times), latency="0.5x")
    assert bent.bent is not None
    truth = latency_model(fast).predict(bent.planner.program, fast).latency_ms
    assert bent.planner.base.latency_ms == pytest.approx(truth, rel=0.1)
    assert plain.planner.base.latency_ms > 1.2 * truth
    assert bent.limits["latency"] == pytest.approx(0.5 * bent.planner.base.latency_ms, rel=0.02)


def test_what_a_plan_takes_is_learnt(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds of the planner may change what they are, and those that users are told stay."""
    target = load_target(PI)

    def times(programs: Sequence[Program]) -> list[float | None]:
        return [latency_model(target).predict(each, target).latency_ms for each in programs]

    begun = _begun(digits, monkeypatch, Clocks("a test", "test_starting learns", times), latency="0.5x")
    before, told = begun.planner.base.latency_ms, begun.factor * begun.planner.base.latency_ms
    grown = begun.learn(begun.planner.program, 1.5)
    assert begun.planner.base.latency_ms == pytest.approx(grown * before)
    assert begun.factor * begun.planner.base.latency_ms == pytest.approx(told)
    assert grown > 1.0
    blind = _begun(digits, monkeypatch, latency="0.5x")
    assert blind.learn(blind.planner.program, 1.5) == 1.0
