"""The report's JSON: what it promises to machines, and that reading it back gives the same report."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import energetic, figures, sample

from compressor.errors import InputError
from compressor.report.model import Cost, Latency, LayerError, PassReport, Report, SkippedSite


def written(report: Report) -> Any:
    return json.loads(json.dumps(report.to_json(), allow_nan=False))


def test_round_trip() -> None:
    assert Report.from_json(written(sample())) == sample()
    assert Report.from_json(written(energetic())) == energetic()


def test_energy_and_making_are_there_for_machines() -> None:
    data = written(energetic())
    assert data["after"]["energy"]["joules"]["value"] == pytest.approx(0.05)
    assert data["after"]["energy"]["measured"] is False
    assert data["after"]["energy"]["kwh_per_1000"] == pytest.approx(50 / 3.6e6)
    assert data["carbon"]["g_per_kwh"] == 475
    assert (data["making"]["joules"], data["break_even"]["when"], data["break_even"]["count"]) == (1000.0, "from", 1e4)


def test_a_carbon_intensity_that_cannot_be_is_refused() -> None:
    data = {**written(energetic()), "carbon": {"g_per_kwh": -1.0, "source": "x"}}
    with pytest.raises(InputError, match="carbon") as caught:
        Report.from_json(data)
    assert caught.value.where == "report.carbon"


def test_latencies_are_null_where_unknown() -> None:
    data = written(sample(after=figures(latency_ms=Latency(4.0, None, (3.2, 5.5)), latency_detail=None)))
    assert data["before"]["latency_ms"] == {"predicted": 12.0, "measured": 15.0, "interval": None}
    assert data["after"]["latency_ms"] == {"predicted": 4.0, "measured": None, "interval": [3.2, 5.5]}
    assert Report.from_json(data).after.latency_ms.interval == (3.2, 5.5)


def test_total_counts_changed_and_skipped() -> None:
    assert [entry["total"] for entry in written(sample())["passes"]] == [6, 1, 1]


def test_what_was_not_run_may_change_its_sites() -> None:
    assert PassReport("fold", Cost(None, 1), Cost(None, 1), changed=("a", "b"), dry=True).state == "may change 2 sites"
    assert "not run" in PassReport("recover", Cost(None, 1), Cost(None, 1), dry=True).state


@given(st.floats())
def test_numbers_that_are_not_finite_become_null(value: float) -> None:
    data = written(sample(layers=(LayerError("a", value),)))
    error = data["layers"][0]["error"]
    assert (error is None) == (value != value or value in (float("inf"), float("-inf")))
    assert len(Report.from_json(data).layers) == 1


@given(st.text(), st.lists(st.tuples(st.text(), st.text())), st.dictionaries(st.text(), st.integers() | st.text()))
def test_round_trip_of_any_text(name: str, skips: list[tuple[str, str]], options: dict[str, Any]) -> None:
    cost = Cost(None, 0)
    done = PassReport(name, cost, cost, options, skipped=tuple(SkippedSite(*skip) for skip in skips))
    report = sample(name, passes=(done,))
    assert Report.from_json(written(report)) == report


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"before": 3}, "report.before"),
        ({"verdict": {"outcome": "great"}}, "report.verdict.outcome"),
        ({"passes": [{"name": "fold"}]}, "report.passes[0]"),
        ({"layers": [{"layer": "a", "error": "big"}]}, "report.layers[0].error"),
        ({"seed": "0"}, "report.seed"),
        ({"synthetic": 1}, "report.synthetic"),
        ({"threads": 1.5}, "report.threads"),
    ],
)
def test_what_is_no_report_is_refused_with_its_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        Report.from_json({**written(sample()), **change})
    assert caught.value.where == where


@pytest.mark.parametrize("data", [{}, {"schema": 99}, [], None])
def test_another_schema_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="schema"):
        Report.from_json(data)


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    assert Report.from_json({**written(sample()), "bundle": "out", "exit_code": 0}) == sample()


def test_reading_and_rendering_a_report_need_no_torch() -> None:
    code = "import compressor.report.model, compressor.report.html, compressor.report.terminal, compressor.inspecting"
    check = f"import sys; {code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
