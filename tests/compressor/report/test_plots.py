"""The plots: well-formed SVG that says the numbers it draws."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, sample

from compressor.report.compare import Row
from compressor.report.model import Cost, LayerError, LayerLatency, PassReport
from compressor.report.plots import TOP, error_by_layer, latency_by_layer, ratio_bar, waterfall

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def bars(svg: str, kind: str) -> list[ElementTree.Element]:
    return [rect for rect in parse(svg).iter(f"{SVG}rect") if rect.get("class") == kind]


def row(before: float | None, after: float | None) -> Row:
    return Row("file", "file", "bytes", before, after)


@pytest.mark.parametrize(("after", "width", "kind"), [(25, 25, "better"), (100, 100, "same"), (120, 120, "worse")])
def test_a_ratio_is_drawn_to_scale(after: float, width: float, kind: str) -> None:
    assert [float(rect.get("width", "")) for rect in bars(ratio_bar(row(100, after)), kind)] == [width]


def test_a_ratio_beyond_the_scale_ends_at_its_edge_and_an_unknown_one_is_not_drawn() -> None:
    assert float(bars(ratio_bar(row(1, 50)), "worse")[0].get("width", "")) == 150
    assert ratio_bar(row(None, 5)) == ratio_bar(row(0, 5)) == ""


def test_layer_bars_are_proportional_to_time() -> None:
    svg = latency_by_layer([LayerLatency("a", 4.0, 2.0), LayerLatency("b", 1.0, None)])
    before = [float(rect.get("width", "")) for rect in bars(svg, "before")]
    after = [float(rect.get("width", "")) for rect in bars(svg, "after")]
    assert before[0] == pytest.approx(2 * after[0], rel=1e-3)
    assert before[0] == pytest.approx(4 * before[1], rel=1e-3)
    assert "absent" in svg


def test_layers_beyond_the_slowest_are_summed_in_words() -> None:
    svg = latency_by_layer([LayerLatency(f"l{i}", 1.0 + i, 0.5) for i in range(TOP + 10)])
    assert len(bars(svg, "before")) == TOP
    assert f"10 faster layers together: {sum(1.0 + i for i in range(10)):.3g} ms before, 5 ms after" in svg


def test_error_columns_grow_by_decade() -> None:
    svg = error_by_layer([LayerError("a", 1e-4), LayerError("b", 1e-3), LayerError("c", 1e-2), LayerError("z", 0.0)])
    a, b, c, z = (float(rect.get("height", "")) for rect in bars(svg, "after"))
    assert c - b == pytest.approx(b - a, abs=3)
    assert z == 0


def test_an_infinite_error_is_the_tallest_column() -> None:
    svg = error_by_layer([LayerError("a", 0.01), LayerError("b", float("inf"))])
    heights = [float(rect.get("height", "")) for rect in bars(svg, "after")]
    assert heights[1] > heights[0]


def test_nothing_to_draw_draws_nothing() -> None:
    assert latency_by_layer([]) == error_by_layer([]) == error_by_layer([LayerError("a", 0.0)]) == ""
    assert waterfall([], "bytes") == ""
    assert waterfall([PassReport("fold", Cost(None, 1), Cost(None, 1))], "latency_ms") == ""


def test_a_reverted_step_is_hollow_and_the_result_is_what_was_kept() -> None:
    svg = waterfall(sample().passes, "latency_ms")
    assert len(bars(svg, "reverted")) == 1
    assert len(bars(svg, "better")) == 2
    texts = [text.text for text in parse(svg).iter(f"{SVG}text")]
    assert texts[0] == "12 ms"
    assert texts[texts.index("result") - 1] == "4 ms"


def test_when_all_is_reverted_the_result_is_the_original() -> None:
    reverted = [done for done in sample().passes if done.reverted]
    texts = [text.text for text in parse(waterfall(reverted, "bytes")).iter(f"{SVG}text")]
    assert texts[texts.index("result") - 1] == texts[0] == "13.9 MB"


finite = st.none() | st.floats(0, 1e12)


@given(st.lists(st.builds(LayerLatency, st.text(st.characters()), finite, finite), max_size=40))
def test_any_latencies_are_well_formed(layers: list[LayerLatency]) -> None:
    if svg := latency_by_layer(layers):
        parse(svg)


@given(st.lists(st.builds(LayerError, st.just(HOSTILE), st.floats(min_value=0))))
def test_any_errors_are_well_formed(layers: list[LayerError]) -> None:
    if svg := error_by_layer(layers):
        parse(svg)
