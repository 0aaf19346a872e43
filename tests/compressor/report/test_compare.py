"""Ratios and words, and the conflicts between figures that must be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import energetic, figures, sample

from compressor.report.compare import conflicts, display, ratio, rows, skip_groups, why_nothing
from compressor.report.model import Cost, Decoding, Figures, Latency, PassReport, Report, SkippedSite


def words(after: Figures, **changes: object) -> dict[str, str]:
    return {row.key: row.word for row in rows(sample(after=after, **changes))}


def test_every_figure_has_a_row_known_or_not() -> None:
    found = rows(sample(before=Figures(10, 40), after=Figures(10, 40)))
    assert [row.key for row in found] == [
        "parameters", "unique_bytes", "file_bytes", "macs", "peak_activation_bytes", "load_ms", "predicted", "measured",
        "energy", "metric", "output_error",
    ]  # fmt: skip
    assert {row.word for row in found if row.before is None} == {""}


def test_words_follow_what_is_better_for_each_figure() -> None:
    found = words(figures(parameters=1_000_000, macs=400_000_000, metric=0.6))
    expected = {"parameters": "better", "macs": "worse", "metric": "worse", "load_ms": "same"}
    assert {key: found[key] for key in expected} == expected
    assert words(figures(metric=0.6), metric_better="lower")["metric"] == "better"


def test_less_than_a_percent_is_the_same() -> None:
    assert words(figures(load_ms=61.5))["load_ms"] == "same"
    assert words(figures(load_ms=62.0))["load_ms"] == "worse"


def test_notes_stand_on_the_rows_they_are_about() -> None:
    notes = {row.key: row.note for row in rows(sample(synthetic=True)) if row.note}
    assert notes == {"predicted": "uncalibrated", "metric": "synthetic", "output_error": "synthetic"}
    assert not any(row.note for row in rows(sample(calibrated=True)))


def test_energy_has_its_ratio_and_says_that_it_is_estimated() -> None:
    row = next(row for row in rows(energetic()) if row.key == "energy")
    assert (row.before, row.after, row.note, row.word) == (
        pytest.approx(0.15),
        pytest.approx(0.05),
        "estimated",
        "better",
    )


@given(st.none() | st.floats(allow_nan=False), st.none() | st.floats(allow_nan=False))
def test_a_ratio_is_none_where_it_says_nothing(before: float | None, after: float | None) -> None:
    assert (ratio(before, after) is None) == (before is None or after is None or before == 0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        # layers shared: fewer parameters, the same arithmetic
        (
            {"parameters": 2_000_000},
            [
                "parameters (0.57×) fell, but measured latency did not change (1.00×)",
                "parameters (0.57×) fell, but the file did not change (1.00×)",
            ],
        ),
        # unstructured sparsity
        (
            {"parameters": 1_750_000, "unique_bytes": 7_000_000, "file_bytes": 7_000_000},
            ["parameters (0.50×) and unique bytes (0.50×) fell, but measured latency did not change (1.00×)"],
        ),
        # a rank too small to pay
        (
            {"macs": 200_000_000, "latency_ms": Latency(10.0, 18.0)},
            [
                "MACs (0.66×) fell, but measured latency rose (1.20×)",
                "predicted latency (0.83×) fell, but measured latency rose (1.20×)",
            ],
        ),
        (
            {"unique_bytes": 3_500_000, "latency_ms": Latency(6.0, 7.5)},
            ["unique bytes (0.25×) fell, but the file did not change (1.00×)"],
        ),
        (
            {"latency_ms": Latency(6.0, 7.5), "peak_activation_bytes": 9_000_000},
            ["measured latency (0.50×) fell, but peak activation memory rose (1.50×)"],
        ),
        # the prediction was too dark
        (
            {"latency_ms": Latency(13.0, 7.5)},
            ["measured latency (0.50×) fell, but predicted latency rose (1.08×)"],
        ),
        ({"latency_ms": Latency(6.0, 7.5)}, []),
        ({}, []),
    ],
)
def test_conflicts(after: dict[str, object], expected: list[str]) -> None:
    assert list(conflicts(sample(after=figures(**after)))) == expected


def test_without_a_measurement_the_prediction_is_compared() -> None:
    plain = figures(latency_ms=Latency(12.0))
    after = figures(parameters=1_000_000, latency_ms=Latency(13.0))
    assert conflicts(sample(before=plain, after=after)) == (
        "parameters (0.29×) fell, but predicted latency rose (1.08×)",
        "parameters (0.29×) fell, but the file did not change (1.00×)",
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"), (0.0421, "ms", "42.1 µs"), (4.2, "ms", "4.2 ms"), (0, "ms", "0 ms"),
        (12_340, "ms", "12.3 s"), (0.0, "joules", "0 µJ"), (4.2e-5, "joules", "42 µJ"), (0.0035, "joules", "3.5 mJ"),
        (0.99999, "joules", "1 J"), (12.0, "joules", "12 J"), (1234.0, "joules", "1.23 kJ"),
        (512, "bytes", "512 B"), (999.6e3, "bytes", "1 MB"), (14_000_000, "bytes", "14 MB"),
        (3.84e9, "bytes", "3.84 GB"), (0, "bytes", "0 B"), (300_774_272, "count", "301 M"),
        (999, "count", "999"), (0.031, "error", "3.10e-02"), (0.97222, "metric", "0.9722"),
    ],
)  # fmt: skip
def test_figures_with_their_units(value: float | None, unit: str, text: str) -> None:
    assert display(value, unit) == text  # type: ignore[arg-type]


def test_reasons_are_grouped_the_commonest_first() -> None:
    skips = [SkippedSite("a", "rare"), SkippedSite("b", "common"), SkippedSite("c", "common")]
    done = PassReport("fold", Cost(None, 1), Cost(None, 1), skipped=tuple(skips))
    assert skip_groups(done) == [("skipped 2: common", ["b", "c"]), ("skipped 1: rare", ["a"])]


def test_the_reason_that_holds_the_most_bytes_comes_first_and_its_heaviest_site() -> None:
    skips = (
        SkippedSite("a", "common", bytes=3), SkippedSite("b", "common", bytes=4), SkippedSite("head", "rare", bytes=8),
        SkippedSite("x", "a word", whole=True), SkippedSite("fc", "otherwise", bytes=99),
    )  # fmt: skip
    done = PassReport("fold", Cost(None, 1), Cost(None, 1), changed=("fc.weight",), skipped=skips)
    assert skip_groups(done) == [
        ("note: a word", []), ("skipped 1: rare", ["head"]), ("skipped 2: common", ["b", "a"]),
        ("note on 1: otherwise", ["fc"]),
    ]  # fmt: skip
    assert why_nothing(done) == "a word"


def test_what_is_said_of_changed_sites_and_of_the_whole_is_no_skip() -> None:
    skips = (
        SkippedSite("fc", "int8 in place of int4"), SkippedSite("head", "kept, as asked"),
        SkippedSite("head", "its bias stays"), SkippedSite("program", "not trained", whole=True),
    )  # fmt: skip
    done = PassReport("quantize", Cost(None, 1), Cost(None, 1), changed=("stem.weight", "fc.weight"), skipped=skips)
    assert done.state == "changed 2 of 3"
    assert dict(skip_groups(done)) == {
        "note on 1: int8 in place of int4": ["fc"], "skipped 1: kept, as asked": ["head"],
        "skipped 1: its bias stays": ["head"], "note: not trained": [],
    }  # fmt: skip
    alone = PassReport("recover", Cost(None, 1), Cost(None, 1), skipped=skips[-1:])
    assert alone.state == "changed nothing"


def test_a_decoders_first_token_has_rows_of_its_own() -> None:
    decoding = Decoding(128, 128, 32, 4, 0.5, 0.1, 1.0)
    report = sample(
        before=figures(first_token_ms=Latency(40.0, 50.0)), after=figures(first_token_ms=Latency(20.0, 30.0)),
        decoding=decoding,
    )  # fmt: skip
    found = {row.key: row for row in rows(report)}
    assert found["predicted"].label == "latency a token, predicted"
    assert (found["first_predicted"].ratio, found["first_measured"].ratio) == (0.5, 0.6)
    assert found["first_predicted"].note == "uncalibrated"
    assert "50.0% the same tokens" in str(decoding)
    assert "128 tokens at once" in decoding.timed
    assert Report.from_json(report.to_json()).decoding == decoding
