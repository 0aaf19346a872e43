"""What a short training takes back of a pass' damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.plan import probe
from compressor.plan.probe import Probe, recoveries
from compressor.plan.swap import Swapper
from compressor.plan.tables import build
from compressor.targets import Figure


def test_every_pass_that_cuts_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    swapper = Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test"))
    found = recoveries(tables, swapper)
    assert set(found) >= {"prune", "factorize"}
    assert "quantize" not in found
    assert found["prune"].before > 0
    assert 0 < found["prune"].left <= 1
    monkeypatch.setattr(probe, "_probe", None)  # it would be called
    slow = replace(known.context, target=board(bandwidth=Figure(1e7, "test")))
    assert recoveries(tables, Swapper(known.program, slow, swapper.shelf)) == found


def test_without_anything_to_train_on_nothing_is_probed() -> None:
    known = weighed()
    blind = replace(known.context, training=())
    swapper = Swapper(known.program, blind, known.swapper.shelf)
    assert recoveries(build(known.places, known.measured), swapper) == {}


def test_what_is_left() -> None:
    assert Probe(2.0, 1.0).left == 0.5
    assert Probe(2.0, 3.0).left == 1.0
    assert Probe(2.0, 0.0).left == probe.LEAST
    assert Probe(0.0, 0.0).left == 1.0
