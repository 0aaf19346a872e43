"""The plot is well-formed, to scale, and counts every run."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from benches import measured
from reports import HOSTILE

from compressor.report.distribution import BINS, TALL, distribution, standalone
from compressor.report.plots import WIDTH

SVG = "{http://www.w3.org/2000/svg}"


def bars(picture: str) -> list[ElementTree.Element]:
    return [rect for rect in ElementTree.fromstring(picture).iter(f"{SVG}rect") if rect.get("class") == "after"]


def test_bars_are_as_high_as_their_runs() -> None:
    times = ((1.0, 30.0), (1.5, 10.0), (2.0, 60.0))
    figures = measured(times=times, min=1.0, p50=2.0, p90=2.0, p99=2.0)
    low, middle, high = bars(distribution([figures]))
    assert float(high.get("height", "")) == pytest.approx(TALL)
    assert float(low.get("height", "")) == pytest.approx(TALL / 2)
    assert float(middle.get("height", "")) == pytest.approx(TALL / 6, abs=0.1)
    pitch = WIDTH / BINS
    assert float(low.get("x", "")) == 0
    assert float(high.get("x", "")) == pytest.approx(int(math.log(2.0) / math.log(2.1) * BINS) * pitch, abs=0.1)


def test_bundles_share_one_scale_and_what_is_beyond_it_is_counted() -> None:
    slow = measured("slow", 4.0)
    fast = measured("fast", 2.0, times=((2.0, 90.0), (50.0, 7.0)), min=2.0)
    picture = distribution([fast, slow])
    assert "7 runs beyond the scale" in picture
    first, *others = [float(bar.get("x", "")) for bar in bars(picture)]
    assert first == 0, "the fast one begins the scale"
    assert WIDTH / 2 < min(others) < max(others) < WIDTH


def test_runs_that_all_took_the_same_are_drawn() -> None:
    figures = measured(times=((2.0, 5.0),), min=2.0, p50=2.0, p90=2.0, p99=2.0)
    assert len(bars(distribution([figures]))) == 1


def test_a_file_of_its_own_has_its_colours_and_no_name_breaks_it() -> None:
    picture = standalone([measured(HOSTILE)])
    root = ElementTree.fromstring(picture)
    assert root.find(f"{SVG}style") is not None
    assert not list(root.iter(f"{SVG}script"))
