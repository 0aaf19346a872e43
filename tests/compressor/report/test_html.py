"""The page: whole in one file, safe whatever names it shows, and rendered by a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import HOSTILE, energetic, figures, sample

from compressor.report.html import to_html
from compressor.report.model import Cost, Figures, Latency, LayerError, PassReport, Report, Verdict

VOID = {"meta", "img", "br", "link", "input", "hr"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "section", "h1", "h2", "h3", "p", "span", "b", "div",
    "table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "line", "text", "g", "figure", "figcaption", "details",
    "summary", "code", "dl", "dt", "dd",
}  # fmt: skip


class Checked(HTMLParser):
    """Collects tags, attributes and text; fails on an element that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def hostile() -> Report:
    report = sample(HOSTILE, HOSTILE, metric=HOSTILE, notes=(HOSTILE,), verdict=Verdict("unchanged", HOSTILE))
    return Report.from_json({**report.to_json(), "target": HOSTILE, "versions": {HOSTILE: HOSTILE}})


def test_every_element_is_closed_and_known() -> None:
    assert {tag for tag, _ in Checked(to_html(sample())).tags} <= ALLOWED


def test_nothing_is_fetched() -> None:
    page = to_html(hostile())
    names = {name for _, attributes in Checked(page).tags for name in attributes}
    assert not names & {"src", "href", "srcset", "data", "action", "poster", "background"}
    assert "http" not in re.sub(r'xmlns="http://www.w3.org/2000/svg"', "", page).replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("report", [hostile(), sample()])
def test_no_script_and_no_handler(report: Report) -> None:
    for tag, attributes in Checked(to_html(report)).tags:
        assert tag in ALLOWED
        assert not any(name.startswith("on") for name in attributes)


@settings(max_examples=50)
@given(st.text(alphabet=st.sampled_from("<>&'\"/=ab \x00\x1b\ud800-!]"), max_size=30))
def test_any_name_stays_text(name: str) -> None:
    report = sample(name, name, metric=name, notes=(name,), verdict=Verdict("unchanged", name))
    page = to_html(report)
    assert {tag for tag, _ in Checked(page).tags} <= ALLOWED
    page.encode()  # as it is when written: no half characters


def test_labels_stand_where_the_numbers_are() -> None:
    page = Checked(to_html(sample(synthetic=True))).text
    assert "accuracy synthetic 0.724 0.719" in page
    assert "latency, predicted uncalibrated 12 ms 4 ms 0.33× better" in page
    assert "uncalibrated" not in Checked(to_html(sample(calibrated=True))).text
    calibrated = Checked(to_html(sample(calibrated=True, predicted_from="a profile of <X>"))).text
    assert "Latency is predicted by a profile of <X>." in calibrated
    stated = Checked(to_html(sample(after=figures(latency_ms=Latency(4.0, 5.0, (3.2, 5.5)))))).text
    assert "Latency, predicted: nine of ten networks take 3.2 ms to 5.5 ms where 4 ms is predicted." in stated


def test_energy_stands_with_the_other_figures() -> None:
    page = Checked(to_html(energetic())).text
    assert "energy an inference estimated 150 mJ 50 mJ 0.33× better" in page
    assert "from a declared power, not measured" in page
    assert "making it: 1 kJ, 100 CPU seconds, of which 20 in earlier runs, 60 s; estimated" in page


def test_passes_conflicts_and_verdict_are_told() -> None:
    text = Checked(to_html(sample(after=figures(parameters=1_000_000), verdict=Verdict("original-kept", "why")))).text
    assert "original kept" in text
    assert "changed 2 of 6, default" in text
    assert "Reverted: predicted latency 11 ms → 16 ms" in text
    assert "skipped 4: two layers read its output" in text
    assert "parameters (0.29×) fell, but measured latency did not change" in text


def test_what_a_pass_says_about_its_result_is_shown() -> None:
    done = PassReport("sparsify", Cost(1.0, 1), Cost(1.0, 1), changed=("fc",), notes=("saves <no> time here",))
    assert "saves <no> time here" in Checked(to_html(sample(passes=(done,)))).text


def test_four_plots_and_a_bar_for_each_known_ratio() -> None:
    tags = [tag for tag, _ in Checked(to_html(sample())).tags]
    assert tags.count("figure") == 4
    assert tags.count("svg") == 4 + 9


def test_a_report_that_knows_almost_nothing_still_makes_a_page() -> None:
    nothing = Figures(0, 0)
    page = to_html(
        sample(before=nothing, after=nothing, passes=(), layers=(), layer_latency=(), placement={}, agreement=None)
    )
    assert "Layers" not in Checked(page).text


def test_a_thousand_layers_stay_a_small_file() -> None:
    layers = tuple(LayerError(f"blocks.{i}.attention", 1e-3) for i in range(1000))
    assert len(to_html(sample(layers=layers))) < 500_000


CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--v=0",
    "--virtual-time-budget=2000",
]  # fmt: skip


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize("report", [sample(), hostile()], ids=["plain", "hostile"])
def test_a_browser_renders_it_without_errors(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(to_html(report), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    dom = Checked(done.stdout)
    assert sum(tag == "svg" for tag, _ in dom.tags) == 13
    assert "Before and after" in dom.text
    assert {tag for tag, _ in dom.tags} <= ALLOWED  # the browser saw no more elements than we meant
    assert "<title>owned" not in done.stdout
    assert "CONSOLE" not in done.stderr
