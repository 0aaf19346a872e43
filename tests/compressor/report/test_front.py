"""The page of a front."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from compressor.report.front import Point, page, plot

POINTS = (
    Point("00", 2.0, 4e6, 0.0, (1.0, 1.0), "the original"),
    Point("01", 1.0, 1e6, 0.04, (0.5, 0.25), "<3 sites>"),
)


def test_a_dot_a_plan_as_large_as_its_bytes() -> None:
    dots = [each.attrib for each in ElementTree.fromstring(plot(POINTS)).iter() if each.tag.endswith("circle")]
    assert len(dots) == 2
    first, second = (float(dot["r"]) for dot in dots)
    assert first == 2 * second
    assert float(dots[0]["cx"]) > float(dots[1]["cx"])
    assert float(dots[0]["cy"]) > float(dots[1]["cy"])  # more damage is higher up


def test_the_page_has_the_table_and_escapes() -> None:
    text = page("net for board", POINTS)
    assert text.count("<tr>") == 3
    assert "&lt;3 sites&gt;" in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_cells_and_json() -> None:
    assert POINTS[1].cells() == ["1 ms", "0.50×", "1 MB", "0.25×", "0.04", "<3 sites>"]
    assert POINTS[1].to_json()["shares"] == (0.5, 0.25)
