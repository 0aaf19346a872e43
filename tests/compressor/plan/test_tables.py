"""Options of one layer multiply; those of neighbours meet at borders."""

from __future__ import annotations

import numpy as np
import pytest
from weighed import weighed

from compressor.plan.parts import parts_of
from compressor.plan.realize import realize
from compressor.plan.tables import Tables, build


@pytest.fixture(scope="module")
def tables() -> Tables:
    return build(weighed().places, weighed().measured)


def _picks(tables: Tables, **chosen: int) -> tuple[int, ...]:
    """Of the sites named the option of that number, the mildest is 1."""
    wanted = {name.replace("__", ":").replace("_", "."): number for name, number in chosen.items()}
    assert set(wanted) <= {site.name for site in tables.sites}
    return tuple(wanted.get(site.name, 0) for site in tables.sites)


def test_doing_nothing_costs_what_the_original_does(tables: Tables) -> None:
    costs = tables.problem({}, {}, {}).costs((0,) * len(tables.sites))
    base = weighed().measured.base
    assert costs["latency"] == pytest.approx(base.latency_ms)
    assert costs["size"] == pytest.approx(base.bytes)
    assert costs["memory"] == pytest.approx(base.memory)
    assert costs["damage"] == 0


def test_one_option_alone_costs_what_was_measured(tables: Tables) -> None:
    [effect, *_] = weighed().measured.effects["prune:second.inner.0"]
    assert effect is not None
    costs = tables.problem({}, {}, {}).costs(_picks(tables, prune__second_inner_0=1))
    assert costs["latency"] == pytest.approx(effect.parts.latency_ms, rel=0.01)
    assert costs["size"] == pytest.approx(effect.parts.bytes, rel=0.01)
    assert costs["damage"] == effect.damage


def test_width_and_bits_of_one_layer_multiply(tables: Tables) -> None:
    """A sum of both savings would leave less than nothing of the layer."""
    known = weighed()
    picks = _picks(tables, prune__second_inner_0=3, quantize__second_inner_0=1)
    size = tables.problem({}, {}, {}).costs(picks)["size"]
    true = parts_of(realize(tables, picks, known.program, known.context).program, known.context).bytes
    savings = [
        known.measured.base.bytes - effect.parts.bytes
        for name, level in (("prune:second.inner.0", 2), ("quantize:second.inner.0", 0))
        if (effect := known.measured.effects[name][level]) is not None
    ]
    summed = known.measured.base.bytes - sum(savings)
    assert abs(size - true) < 0.3 * abs(summed - true)
    assert size == pytest.approx(true, rel=0.05)


def test_borders_are_between_layers_that_differ(tables: Tables) -> None:
    borders = [
        term for term in tables.terms
        if len(term.scope) == 2 and all(tables.places[i].means.name == "quantize" for i in term.scope)
        and term.axis == "latency"
    ]  # fmt: skip
    assert borders
    for term in borders:
        one, other = (tables.sites[index].options for index in term.scope)
        same = np.array([[a == b for b in other] for a in one])
        assert (term.table[same] == 0).all()
        assert (term.table >= 0).all()


def test_a_part_of_the_sites(tables: Tables) -> None:
    wanted = [index for index, place in enumerate(tables.places) if place.means.name == "prune"]
    only = tables.only(wanted)
    assert only.problem({}, {}, {}).space < tables.problem({}, {}, {}).space
    assert all(len(site.options) == 1 for index, site in enumerate(only.sites) if index not in wanted)
    nothing = (0,) * len(tables.sites)
    assert only.problem({}, {}, {}).costs(nothing) == tables.problem({}, {}, {}).costs(nothing)


def test_damage_that_training_takes_back_weighs_less(tables: Tables) -> None:
    picks = _picks(tables, prune__second_inner_0=2, quantize__stem_0=2)
    whole, half = (tables.weighed(f).problem({}, {}, {}).costs(picks) for f in ({}, {"prune": 0.5}))
    alone = tables.problem({}, {}, {}).costs(_picks(tables, prune__second_inner_0=2))["damage"]
    assert half["damage"] == pytest.approx(whole["damage"] - alone / 2)
    assert half["latency"] == whole["latency"]
