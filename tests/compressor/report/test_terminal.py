"""The report in a terminal: complete without colour at 80 columns, and deaf to what names contain."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, energetic, figures, sample
from rich.console import Console

from compressor.report.compare import plain
from compressor.report.html import to_html
from compressor.report.model import Cost, Decoding, Figures, Latency, PassReport, Report, SkippedSite, Verdict
from compressor.report.terminal import render


def shown(report: Report, width: int = 80) -> str:
    stream = io.StringIO()
    render(report, Console(file=stream, width=width, no_color=True, highlight=False))
    return stream.getvalue()


def joined(report: Report) -> str:
    return " ".join(shown(report).split())


def test_no_line_is_wider_than_80_columns_and_no_colour_is_needed() -> None:
    text = shown(sample(synthetic=True))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_where_it_was_measured_is_told_in_both_reports() -> None:
    assert "measured after on kitchen (Cortex-A76) (ms): p50 5" in joined(sample())
    assert "measured after on kitchen (Cortex-A76), ms" in to_html(sample())
    assert "measured after (ms): p50 5" in joined(sample(measured_on=""))


def test_before_and_after_stand_side_by_side_with_ratio_and_word() -> None:
    lines = [" ".join(line.split()) for line in shown(sample()).splitlines()]
    assert "file 14.1 MB 3.7 MB 0.26× better" in lines
    assert "latency, predicted (uncalibrated) 12 ms 4 ms 0.33× better" in lines
    assert "output error – 3.10e-02" in lines


def test_energy_stands_with_the_other_figures_and_what_it_comes_to_below() -> None:
    text = joined(energetic())
    assert "energy an inference (estimated) 150 mJ 50 mJ 0.33× better" in text
    assert "1,000 inferences: 4.17e-05 → 1.39e-05 kWh" in text
    assert "from 10,000 inferences on (95%: 9,000 to 12,000)" in text
    assert "kWh" not in joined(sample())


def test_each_pass_says_changed_n_of_m_and_why_not_the_rest() -> None:
    text = joined(sample())
    assert "fold, default: changed 2 of 6" in text
    assert "skipped 4: two layers read its output (features.0.0, features.0.1 and 2 more)" in text
    assert "reverted (had changed 1 of 1): predicted latency 11 ms → 16 ms: worse by 45%" in text
    assert "warning: few samples" in text
    assert "quantize (format=int8), user: changed 1 of 1" in text


def test_many_reasons_are_cut_with_their_count() -> None:
    skips = tuple(SkippedSite(f"layer{i}", f"reason {i}") for i in range(7))
    done = PassReport("fold", Cost(1.0, 1), Cost(1.0, 1), skipped=skips)
    assert "skipped 4 for 4 other reasons" in joined(sample(passes=(done,)))
    noted = PassReport("int4", Cost(1.0, 1), Cost(1.0, 1), changed=tuple(f"layer{i}" for i in range(7)), skipped=skips)
    text = joined(sample(passes=(noted,)))
    assert "changed 7 of 7" in text
    assert "note on 1: reason 0 (layer0)" in text
    assert "and 4 more notes" in text


def test_what_a_pass_says_about_its_result_is_shown() -> None:
    done = PassReport("sparsify", Cost(1.0, 1), Cost(1.0, 1), changed=("fc",), notes=("saves no time here",))
    assert "note: saves no time here" in joined(sample(passes=(done,)))


def test_labels_stand_where_the_numbers_are() -> None:
    text = joined(sample(synthetic=True))
    assert "accuracy (synthetic) 0.724 0.719" in text
    assert "synthetic: on made-up inputs" in text
    assert "uncalibrated: predicted by a roofline" in text
    calibrated = joined(sample(calibrated=True))
    assert "uncalibrated" not in calibrated
    assert "predicted by a profile of X" in joined(sample(calibrated=True, predicted_from="a profile of X"))
    assert "synthetic" not in calibrated


def test_predictions_come_with_their_interval() -> None:
    assert "nine of ten" not in joined(sample())
    after = figures(latency_ms=Latency(4.0, 5.0, (3.2, 5.5)))
    told = "nine of ten networks take 3.2 ms to 5.5 ms where 4 ms is predicted"
    assert told in joined(sample(after=after))
    both = joined(sample(before=figures(latency_ms=Latency(12.0, None, (9.0, 16.0))), after=after))
    assert "nine of ten networks take 9 ms to 16 ms where 12 ms is predicted, 3.2 ms to 5.5 ms where 4 ms is" in both


def test_the_original_kept_is_said_first_with_its_reason() -> None:
    first = shown(sample(verdict=Verdict("original-kept", "accuracy fell by 4%"))).splitlines()[1]
    assert first == "ORIGINAL KEPT: accuracy fell by 4%"


def test_conflicts_are_pointed_out() -> None:
    assert "! parameters (0.29×) fell, but measured latency" in joined(sample(after=figures(parameters=1_000_000)))


def test_a_report_that_knows_almost_nothing() -> None:
    empty = sample(
        before=Figures(0, 0), after=Figures(0, 0), passes=(), layers=(), layer_latency=(), placement={}, agreement=None,
        metric=None, notes=(), threads=None, versions={},
    )  # fmt: skip
    assert "metric – –" in joined(empty)


def test_markup_and_control_codes_in_names_are_text() -> None:
    text = shown(sample(HOSTILE, HOSTILE, notes=(HOSTILE,), metric=HOSTILE))
    assert "[/b]" in text
    assert not any(ord(c) < 32 and c != "\n" for c in text)


@given(st.text(), st.integers(20, 120))
def test_any_name_can_be_rendered(name: str, width: int) -> None:
    text = shown(sample(name, name, verdict=Verdict("unchanged", name)), width)
    assert all(c == "\n" or c.isprintable() for c in text)


def test_plain_keeps_every_printable_character() -> None:
    assert plain("größe×\x1b[31m\n") == "größe×?[31m?"


def test_a_decoder_tells_what_it_generates_and_what_was_timed() -> None:
    decoding, first = Decoding(128, 64, 32, 4, 1.0, 2e-6, 1.0), Latency(40.0, 50.0)
    report = sample(
        before=figures(first_token_ms=first), after=figures(first_token_ms=Latency(20.0, 25.0)), decoding=decoding
    )
    for text in (joined(report), to_html(report)):
        assert "first token, measured" in text
        assert "latency a token, measured" in text
        assert "32 tokens generated with the cache behind 4 texts: the same tokens as the original" in text
        assert "after reading 128 tokens at once; a token: one more behind 64 kept" in text
