"""Tables that cost what was seen."""

from __future__ import annotations

import numpy as np
import pytest
from weighed import weighed

from compressor.plan.correct import corrected
from compressor.plan.parts import REST, Parts, parts_of
from compressor.plan.problem import Site, Term
from compressor.plan.realize import realize
from compressor.plan.tables import BY_LAYER, Tables, build


def _severe() -> tuple[int, ...]:
    """The last option everywhere that prunes or quantizes."""
    tables = build(weighed().places, weighed().measured)
    wanted = ("prune", "quantize")
    names = [place.means.name for place in tables.places]
    return tuple(len(site.options) - 1 if name in wanted else 0 for site, name in zip(tables.sites, names, strict=True))


def test_the_plan_costs_what_was_seen_and_the_original_what_it_did() -> None:
    known = weighed()
    tables, picks = build(known.places, known.measured), _severe()
    built = realize(tables, picks, known.program, known.context).program
    seen, damage = parts_of(built, known.context, known.swapper.known), known.swapper.damage(built)
    found = corrected(tables, tables, picks, seen, damage)
    before, after = (each.problem({}, {}, {}).costs(picks) for each in (tables, found))
    assert abs(before["latency"] - seen.latency_ms) > 1e-6
    assert after["latency"] == pytest.approx(seen.latency_ms)
    assert after["size"] == pytest.approx(seen.bytes)
    assert after["memory"] == pytest.approx(seen.memory)
    assert damage is not None
    assert after["damage"] == pytest.approx(damage) or not 0.1 < damage / before["damage"] < 10


def test_a_share_of_what_no_layer_explains() -> None:
    known = weighed()
    tables, picks = build(known.places, known.measured), _severe()
    built = realize(tables, picks, known.program, known.context).program
    seen = parts_of(built, known.context, known.swapper.known)
    whole, half, none = (
        corrected(tables, tables, picks, seen, None, share).problem({}, {}, {}).costs(picks)
        for share in (1.0, 0.5, 0.0)
    )
    assert half["latency"] == pytest.approx((whole["latency"] + none["latency"]) / 2)


def test_an_option_alone_costs_what_was_measured_of_it() -> None:
    known = weighed()
    tables, picks = build(known.places, known.measured), _severe()
    built = realize(tables, picks, known.program, known.context).program
    found = corrected(tables, tables, picks, parts_of(built, known.context, known.swapper.known), None)
    layered = [index for index, layer in enumerate(tables.layers) if layer and tables.terms[index].axis == "latency"]
    apart = 0.0
    for index in layered:
        before, after = tables.terms[index].table, found.terms[index].table
        for axis in range(before.ndim):
            alone = tuple(slice(None) if each == axis else 0 for each in range(before.ndim))
            assert after[alone] == pytest.approx(before[alone])
        apart = max(apart, float(abs(after - before).max()) / float(before.max()))
    assert apart > 0.05


def test_what_is_slower_alone_does_not_become_cheap_beside_a_saving() -> None:
    halves, slower = np.array([1.0, 0.5]), np.array([1.0, 3.0])
    layer = halves[:, None, None] * slower[None, :, None] * halves[None, None, :]
    rest = [Term(axis, (), np.array(0.0)) for axis in BY_LAYER]
    sites = tuple(Site(name, ("as it is", "changed")) for name in "abc")
    tables = Tables((), (), sites, (Term("latency", (0, 1, 2), layer), *rest), ("layer", *[REST] * len(rest)))
    found = corrected(tables, tables, (1, 1, 1), Parts({"layer": 1.2}, {}, 0.0), None).terms[0].table
    assert found[1, 1, 1] == pytest.approx(1.2)
    assert (found[:, 1] >= 2.9 * found[:, 0]).all()
    assert found[1, 0, 1] > layer[1, 0, 1], "savings that meet are corrected"
