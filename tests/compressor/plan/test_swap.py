"""Options measured by swapping one into the original."""

from __future__ import annotations

import math
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import board
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.graph.cost import Roofline
from compressor.plan.clock import Clock
from compressor.plan.menu import Place
from compressor.plan.swap import Swapper, carried_out
from compressor.targets import Figure, load_target


def test_an_effect_is_that_of_the_program_with_the_option_alone() -> None:
    known = weighed()
    [place] = [place for place in known.places if place.name == "prune:second.inner.0"]
    [quarter, *_] = known.measured.effects[place.name]
    assert quarter is not None
    program, changed = carried_out(place, {place.site: place.setting(0)}, known.program, known.swapper.making)
    assert quarter.parts.bytes == program.unique_bytes()
    assert quarter.parts.latency_ms == pytest.approx(Roofline().predict(program, known.context.target).latency_ms)
    assert quarter.damage == pytest.approx(known.swapper.damage(program))
    assert set(quarter.layers) == {name.rpartition(".")[0] for name in changed}


def test_more_of_it_does_more_damage_and_costs_less() -> None:
    known = weighed()
    effects = [effect for effect in known.measured.effects["prune:second.inner.0"] if effect is not None]
    assert [e.damage for e in effects] == sorted(e.damage for e in effects)
    assert effects[0].damage > 0
    times = [effect.parts.latency_ms for effect in effects]
    assert times == sorted(times, reverse=True)
    assert known.swapper.damage(known.program) == pytest.approx(0.0, abs=1e-9)


def test_bits_are_seen_at_all_sites_together() -> None:
    known = weighed()
    everywhere = known.measured.levels["quantize", "int8"]
    assert everywhere.latency_ms < known.measured.base.latency_ms
    alone = known.measured.effects["quantize:second.inner.0"]
    assert any(e is not None and e.parts.latency_ms > everywhere.latency_ms for e in alone)


def test_what_was_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    shelf = Shelf(Cache(Path(tempfile.mkdtemp())), "test")
    few = [place for place in known.places if place.means.name == "prune"][:2]
    first = Swapper(known.program, known.context, shelf).measure(few)
    again = Swapper(known.program, known.context, shelf)
    monkeypatch.setattr(again, "_seen", None)  # it would be called
    assert again.measure(few).effects == first.effects


def test_what_another_run_measures_is_taken_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs share the work: what the other one is at is looked at last."""
    known, seen = weighed(), list[str]()
    first, second, *_ = [place for place in known.places if place.means.name == "prune"]
    swapper, other = (Swapper(known.program, known.context, Shelf(Cache(tmp_path), "test")) for _ in range(2))
    begun, measured = threading.Event(), threading.Event()

    def elsewhere() -> None:
        with other.shelf.claim(other._claim(first)) as ours:
            begun.set()
            assert ours
            assert measured.wait(20)
            other._stored(first, [first])

    def watch(place: Place, number: int, places: object) -> None:
        seen.append(place.name)
        measured.set()

    monkeypatch.setattr(swapper, "_seen", watch)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert begun.wait(20)
    found = swapper.measure([first, second])
    thread.join()
    assert set(seen) == {second.name}
    assert found.effects[first.name] == known.measured.effects[first.name]


def test_without_time_places_are_left_and_said() -> None:
    known = weighed()
    shelf = Shelf(Cache(None), "test")
    found = Swapper(known.program, known.context, shelf, Clock(-1.0)).measure(known.places)
    assert not found.effects
    assert {skip.site for skip in found.left} == {place.name for place in known.places}


def test_without_data_the_pass_knows_the_damage() -> None:
    known = weighed()
    blind = replace(known.context, calibration=(), training=())
    [place] = [place for place in known.places if place.name == "prune:second.inner.0"]
    found = Swapper(known.program, blind, Shelf(Cache(None), "test")).measure([place])
    effects = [effect for effect in found.effects[place.name] if effect is not None]
    assert [e.damage for e in effects] == [o.damage for o in place.options]


def test_what_leaves_no_number_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    swapper = Swapper(known.program, known.context, Shelf(Cache(None), "test"))
    monkeypatch.setattr(swapper, "damage", lambda program: math.nan)
    [place] = [place for place in known.places if place.name == "prune:second.inner.0"]
    assert swapper.measure([place]).effects[place.name] == (None, None, None)


def test_another_board_runs_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = weighed()
    shelf = Shelf(Cache(Path(tempfile.mkdtemp())), "test")
    few = [place for place in known.places if place.name in ("prune:second.inner.0", "quantize:second.inner.0")]
    here = Swapper(known.program, known.context, shelf).measure(few)
    slow = replace(known.context, target=board(bandwidth=Figure(1e8, "test")))
    there = Swapper(known.program, slow, shelf)
    monkeypatch.setattr(there, "_seen", None)  # it would be called
    monkeypatch.setattr(there, "judge", None)
    found = there.measure(few)
    for place in few:
        for number, (before, after) in enumerate(zip(here.effects[place.name], found.effects[place.name], strict=True)):
            assert before is not None
            assert after is not None
            assert after.damage == before.damage
            program, _ = carried_out(place, {place.site: place.setting(number)}, known.program, there.making)
            assert after.parts.latency_ms == pytest.approx(Roofline().predict(program, slow.target).latency_ms)
    other = replace(known.context, target=board(providers=board("TensorrtExecutionProvider").providers))
    assert Swapper(known.program, other, shelf)._kept(few[0]) is not None


def test_what_is_weighed_for_one_board_is_weighed_for_all_that_run_integers() -> None:
    known = weighed()
    first = {place.means.name: place for place in reversed(known.places)}
    assert {"prune", "factorize", "quantize"} <= set(first)
    names = ("host", "raspberry-pi-4", "raspberry-pi-5", "android-arm64", "web-wasm", "x86-64")
    boards = [replace(known.context, target=load_target(name)) for name in names]
    swappers = [Swapper(known.program, context, known.swapper.shelf) for context in boards]
    for place in first.values():
        assert len({swapper._key(place, 0) for swapper in swappers}) == 1
        made = {
            carried_out(place, {place.site: place.setting(0)}, known.program, swapper.making)[0].hash()
            for swapper in swappers
        }
        assert len(made) == 1, place.name


def test_what_says_everything_is_weighed_for_any_board() -> None:
    """A wish is read by the board's own rules: of a board that wants other widths it is another option."""
    known = weighed()
    first = {place.means.name: place for place in reversed(known.places)}
    jetson = replace(known.context, target=load_target("jetson-orin-nano"))
    there = Swapper(known.program, jetson, known.swapper.shelf)
    assert there._key(first["prune"], 0) == known.swapper._key(first["prune"], 0)
    assert there._key(first["factorize"], 0) != known.swapper._key(first["factorize"], 0)


def test_options_that_another_board_had_are_not_weighed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known, seen = weighed(), list[int]()
    shelf = Shelf(Cache(Path(tempfile.mkdtemp())), "test")
    [place] = [place for place in known.places if place.name == "prune:second.inner.0"]
    fewer = replace(place, options=place.options[1:2])
    [first] = Swapper(known.program, known.context, shelf).measure([fewer]).effects[place.name]
    again, truly = Swapper(known.program, known.context, shelf), Swapper._seen
    monkeypatch.setattr(Swapper, "_seen", lambda self, *given: (seen.append(given[1]), truly(self, *given))[1])
    assert again.measure([place]).effects[place.name][1] == first
    assert seen == [0, 2]


def test_what_judges_is_not_what_is_fitted_to() -> None:
    known = weighed()
    swapper = Swapper(known.program, known.context, known.swapper.shelf)
    [name] = [spec.name for spec in known.program.inputs]
    everything = torch.cat([batch[name] for batch in known.context.calibration])
    fitted = torch.cat([batch[name] for batch in swapper.making.calibration])
    assert swapper.judge is not None
    judged = torch.cat([batch[name] for batch in swapper.judge.batches])
    assert torch.equal(torch.cat([fitted, judged]), everything)


def test_a_wish_that_is_read_for_all_sites_at_once_does_what_it_does_alone() -> None:
    known = weighed()
    places = [place for place in known.places if place.means.name == "quantize"]
    swapper, ratios = known.swapper, list[float]()
    for place in places:
        number = [option.level for option in place.options].index("int8")
        alone, _ = carried_out(place, {place.site: place.setting(number)}, known.program, swapper.making)
        seen = swapper._seen(place, number, places)
        assert seen is not None
        ratios.append(seen.damage / (swapper.damage(alone) or 1.0))
    assert 0.9 < float(np.median(ratios)) < 1.1, ratios
    assert all(0.5 < ratio < 2 for ratio in ratios), ratios
