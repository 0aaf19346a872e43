"""What a short training takes back of a pass' damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.plan import probe
from compressor.plan.clock import Clock
from compressor.plan.probe import MILD, SEVERE, Probe, Probed, recoveries
from compressor.plan.swap import Swapper
from compressor.plan.tables import build
from compressor.targets import Figure


def test_every_pass_that_cuts_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    swapper = Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test"))
    found = recoveries(tables, swapper)
    assert found is not None
    assert set(found) >= {"prune", "factorize"}
    assert "quantize" not in found
    for share in (MILD, SEVERE):
        assert 0 < found["prune"].left(share) <= 1
    assert 0 < found["prune"].mild.before < found["prune"].severe.before
    assert found["prune"].mild.said < found["prune"].severe.said
    monkeypatch.setattr(probe, "_probe", None)  # it would be called
    slow = replace(known.context, target=board(bandwidth=Figure(1e7, "test")))
    assert recoveries(tables, Swapper(known.program, slow, swapper.shelf)) == found


def test_without_anything_to_train_on_nothing_is_probed() -> None:
    known = weighed()
    blind = replace(known.context, training=())
    swapper = Swapper(known.program, blind, known.swapper.shelf)
    assert recoveries(build(known.places, known.measured), swapper) == {}


def test_without_the_time_for_all_none_counts_and_what_was_kept_costs_none(tmp_path: Path) -> None:
    known = weighed()
    tables, over = build(known.places, known.measured), Clock(0.0)
    assert recoveries(tables, Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test"), over)) is None
    kept = recoveries(tables, known.swapper)
    assert kept
    assert recoveries(tables, Swapper(known.program, known.context, known.swapper.shelf, over)) == kept


def test_what_is_left() -> None:
    assert Probe(1.0, 2.0, 1.0).left == 0.5
    assert Probe(1.0, 2.0, 3.0).left == 1.0
    assert Probe(1.0, 2.0, 0.0).left == probe.LEAST
    assert Probe(0.0, 0.0, 0.0).left == 1.0


def test_what_many_options_add() -> None:
    assert Probe(1.0, 2.0, 1.0).added == 2.0
    assert Probe(1.0, 0.5, 0.1).added == 0.5
    assert Probe(1e-9, 1.0, 1.0).added == probe.ADDED[1]
    assert Probe(0.0, 1.0, 1.0).added == Probe(1.0, 0.0, 0.0).added == 1.0


def test_between_both_cuts_and_beyond_them() -> None:
    probed = Probed(Probe(1.0, 1.0, 0.04), Probe(1.0, 4.0, 1.0))
    assert probed.left(0.9) == probed.left(MILD) == pytest.approx(0.04)
    assert probed.left(0.1) == probed.left(SEVERE) == pytest.approx(0.25)
    assert probed.left((MILD * SEVERE) ** 0.5) == pytest.approx(0.1)
    assert probed.added((MILD * SEVERE) ** 0.5) == pytest.approx(2.0)
