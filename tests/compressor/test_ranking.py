"""The table of ranks: ranked, with the metric where there are labels, and honest where there is no data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compressor.api import ranks_request
from compressor.ranking import Ranks
from compressor.request import Request


@pytest.fixture(scope="module")
def labelled(digits: Path) -> Ranks:
    return ranks_request(Request(digits / "model.pt", target="x86-64", data=str(digits / "data.npz")))


def shown(found: Ranks) -> str:
    out = io.StringIO()
    found.render(Console(file=out, width=80))
    return " ".join(out.getvalue().split())


def test_ranked_with_what_it_saves_and_costs(labelled: Ranks) -> None:
    matrices: list[dict[str, Any]] = labelled.to_json()["matrices"]
    errors = [row["error"] for row in matrices]
    assert errors == sorted(errors, reverse=True)
    assert (labelled.metric, labelled.method) == ("accuracy", "activation")
    assert len({(row["matrix"], row["rank"]) for row in matrices}) == len(matrices)
    by_key = {(row["matrix"], row["share"]): row for row in matrices}
    row = by_key["first.inner.0", 0.5]
    assert (row["rank"], row["full_rank"], row["outputs"], row["inputs"]) == (16, 32, 32, 288)
    assert row["bytes"] == 4 * 16 * (32 + 288)
    assert row["bytes_saved"] == 4 * 32 * 288 - row["bytes"]
    assert row["setting"] == {"rank": 16, "method": "activation"}
    assert by_key["second.inner.0", 0.75]["metric_drop"] < 0.05 < by_key["first.inner.0", 0.1]["metric_drop"]
    assert isinstance(row["ms_saved"], float)
    assert "depthwise.0" in [skip["matrix"] for skip in labelled.to_json()["skipped"]]


def test_the_table_says_what_was_measured(labelled: Ranks) -> None:
    text = shown(labelled)
    assert "matrix rank saves ms saved error accuracy lost" in text
    assert "over 128 samples" in text
    assert "16 of 32" in text
    assert "depthwise.0: it is a convolution by channel" in text


def test_without_data_it_is_by_weights_and_says_so(digits: Path) -> None:
    found = ranks_request(Request(digits / "model.pt", target="jetson"))
    assert found.to_json()["error_of"] == "weights"
    assert found.method == "svd"
    assert "without --data the error is that of the weights" in shown(found)
    assert found.metric is None
