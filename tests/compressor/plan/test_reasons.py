"""Why a plan does what it does."""

from __future__ import annotations

from weighed import weighed

from compressor.plan.planner import Planner, Wish
from compressor.plan.reasons import with_reasons


def test_every_site_has_its_reason() -> None:
    known = weighed()
    planner = Planner(known.swapper, known.places, known.measured)
    plan = planner.plan(Wish({"latency": 0.4 * planner.base.latency_ms}))
    specs = with_reasons(plan.best.specs, plan.best.solution.picks, plan.tables, plan.measured)
    assert specs
    for spec in specs:
        assert set(spec.reasons) == set(spec.sites)
        assert all("ms" in reason and "kB" in reason and "damage" in reason for reason in spec.reasons.values())
