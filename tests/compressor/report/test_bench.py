"""The table and the page say what was measured, and what to hold against it, whatever bundles are called."""

from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from benches import found, measured
from reports import HOSTILE
from rich.console import Console

from compressor.devices.bench import Bench
from compressor.devices.energy import WORLD, Span, estimated_energy
from compressor.devices.figures import Answer, Energy
from compressor.report.bench import bench_html, render_bench


def shown(bench: Bench, width: int = 100) -> str:
    stream = io.StringIO()
    render_bench(bench, Console(file=stream, width=width))
    return stream.getvalue()


def test_every_figure_is_in_the_table() -> None:
    text = shown(found(measured("fp32", 4.0), measured("int8", 2.0)))
    for word in ("4 ms", "2 ms", "60 MB", "45 MB", "500 /s", "8 mJ", "3.5 mJ", "4, 2.25 W", "0.5 [0.5, 0.5] faster"):
        assert word in text.replace("500/s", "500 /s"), word


def test_more_bundles_than_fit_are_shown_below_with_the_labels_again() -> None:
    every = found(*(measured(f"bundle-{number}", 4.0 / number) for number in range(1, 6)))
    lines = shown(every, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    labels = [each for each in lines if each.startswith("latency p50")]
    assert len(labels) > 1
    assert all(f"bundle-{number}" in " ".join(lines) for number in range(1, 6))


def test_energy_of_a_thousand_and_over_the_life() -> None:
    slow, quick = (
        measured("fp32", 4.0),
        measured("int8", 2.0, energy=Energy("INA3221 VDD_IN", 4.0, 1.5, 4.0, 2.25, 100)),
    )
    text = " ".join(shown(found(slow, quick)).split())
    assert "energy an inference (measured) 8 mJ 4 mJ" in text
    assert "kWh of 1,000 (measured) 2.22e-06 1.11e-06" in text
    assert "g CO2e of 1,000 (measured) 0.00106 0.000528" in text
    assert "making it 100 J 200 J" in text
    assert "int8 with its making, less energy than fp32: from 25,000 inferences on" in text
    assert "475 g CO2e a kWh, assumed" in text


def test_what_is_measured_and_what_is_estimated_is_told_apart() -> None:
    bench = found(measured("a"), measured("b"))
    estimated = estimated_energy(Span.exactly(2.0), 5.0, "test", WORLD)
    first, second = bench.cycles
    text = " ".join(shown(replace(bench, cycles=(first, replace(second, energy=estimated, break_even=None)))).split())
    assert "energy an inference 8 mJ measured 10 mJ estimated" in text


def test_without_a_sensor_or_a_declared_power_no_energy_is_guessed() -> None:
    text = shown(found(measured(energy=None)))
    assert "no sensor; no power declared (--power)" in " ".join(text.split())
    assert "mJ" not in text


def test_the_providers_that_ran_are_told() -> None:
    assert "on: CPUExecutionProvider" in shown(found(measured()))


def test_the_conditions_are_told() -> None:
    text = shown(found(measured()))
    for word in (
        "Cortex-A76", "threads 4, batch 1", "onnxruntime 1.23.0", "cpu-thermal 48 → 64 °C", "ondemand",
        "2300 to 2400 MHz", "MAXN", "INA3221 VDD_IN",
    ):  # fmt: skip
        assert word in text, word


def test_what_nobody_has_is_left_out_and_a_missing_sensor_is_said() -> None:
    text = shown(found(measured(energy=None), states=({}, {}), clocks=(None,)))
    for word in ("energy an inference", "above idle", "kWh", "governor", "temperature", "clock", "power mode"):
        assert word not in text
    assert "no sensor" in text


def test_reasons_for_doubt_are_marked() -> None:
    bench = found(measured(), throttled=("the board reports: throttled",), unstable=("it drifted",), notes=("slow",))
    text = shown(bench)
    assert "! throttled: the board reports: throttled" in text
    assert "! unstable: it drifted" in text
    assert "! slow" in text
    assert bench_html(bench).count('class="caution"') == 3


def test_an_emulated_board_shows_errors_and_no_time() -> None:
    text = shown(found(errors={"digits": {"output": 3e-5}}))
    assert "digits: verified; time means nothing under emulation; 1 output agrees with PyTorch" in text
    assert "3.0e-05" in text
    assert " ms" not in text


def test_instructions_are_shown_as_such_and_never_as_time() -> None:
    errors = {name: {"output": 3e-5} for name in ("fp32", "int8")}
    text = shown(found(errors=errors, instructions={"fp32": 157_000_000, "int8": 54_100_000}))
    assert "million instructions an inference" in text
    assert "on:" not in text, "nothing is known of providers there"
    [first, second] = [row.split() for row in text.splitlines() if row.startswith(("fp32 ", "int8 "))]
    assert (first, second) == (["fp32", "157"], ["int8", "54.1", "0.345"])
    assert "1 thread, batch 1" in text
    assert "no time" in text
    for word in (" ms", "faster", "slower", "latency"):
        assert word not in text


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]


@pytest.mark.parametrize("name", ["digits", HOSTILE])
def test_a_page_is_whole_and_safe_whatever_a_bundle_is_called(name: str) -> None:
    page = bench_html(found(measured(name), measured("other"), url=name, notes=(name,)))
    tags = Tags(page).found
    assert "svg" in tags
    assert not set(tags) & {"script", "img", "link", "iframe"}
    assert "\x1b" not in page
    assert "\x1b]0;owned" not in shown(found(measured(name)))


def test_a_decoders_first_token_and_each_further_one() -> None:
    answer = Answer(40.0, 2.5, 128, 32, 5)
    text = " ".join(shown(found(measured("llama", answer=answer), measured("plain"))).split())
    assert "first token 40 ms –" in text
    assert "a token, as it answers 2.5 ms –" in text
    assert "llama: 128 tokens read at once before the first one, 32 behind it, 5 answers" in text
    both = " ".join(shown(found(measured("llama", answer=answer), measured("int4", answer=answer))).split())
    assert "energy a token (measured)" in both
    assert "inference" not in both
    assert "first token" not in shown(found(measured("plain")))
