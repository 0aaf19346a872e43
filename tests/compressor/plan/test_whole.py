"""Plans built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.plan import whole as module
from compressor.plan.swap import Swapper
from compressor.plan.tables import build
from compressor.plan.whole import whole


def test_a_plan_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    swapper = Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test"))
    picks = tuple(int(site.name.startswith("prune:")) for site in tables.sites)
    first = whole(tables, picks, swapper)
    assert [spec.name for spec in first.specs] == ["prune"]
    assert first.damage is not None
    assert first.damage > 0
    assert first.parts.bytes < known.measured.base.bytes
    monkeypatch.setattr(module, "realize", None)  # it would be called
    assert whole(tables, picks, swapper) == first


def test_a_damaged_entry_is_built_anew(tmp_path: Path) -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    swapper = Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test"))
    picks = (0,) * len(tables.sites)
    first = whole(tables, picks, swapper)
    for path in tmp_path.rglob("value.json"):
        path.write_text("{")
    assert whole(tables, picks, swapper).parts == first.parts
