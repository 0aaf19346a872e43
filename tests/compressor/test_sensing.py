"""The sensitivity table: ranked, with the metric where there are labels, and honest where there is no data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compressor.api import sensitivity_request
from compressor.request import Request
from compressor.sensing import Sensitivities


@pytest.fixture(scope="module")
def labelled(digits: Path) -> Sensitivities:
    return sensitivity_request(Request(digits / "model.pt", target="x86-64", data=str(digits / "data.npz")))


def shown(found: Sensitivities) -> str:
    out = io.StringIO()
    found.render(Console(file=out, width=80))
    return " ".join(out.getvalue().split())


def test_ranked_with_what_it_saves_and_costs(labelled: Sensitivities) -> None:
    layers: list[dict[str, Any]] = labelled.to_json()["layers"]
    errors = [row["error"] for row in layers]
    assert errors == sorted(errors, reverse=True)
    assert (layers[0]["format"], labelled.metric) == ("ternary", "accuracy")
    assert len({(row["layer"], row["format"]) for row in layers}) == len(layers)
    by_key = {(row["layer"], row["format"]): row for row in layers}
    assert by_key["head.3", "int4"]["bytes"] == 10 * 2 * (16 + 4), "ten rows of two blocks of 32"
    assert by_key["head.3", "int4"]["bytes_saved"] == 4 * 560 - 400
    assert by_key["first.inner.0", "int8"]["ms_saved"] > 0.0
    assert abs(by_key["first.inner.0", "int8"]["metric_drop"]) < 0.02
    assert "low" in by_key["first.inner.0", "int8"]["setting"]


def test_the_table_says_what_was_measured(labelled: Sensitivities) -> None:
    text = shown(labelled)
    assert "layer format saves ms saved error accuracy lost" in text
    assert "over 128 samples" in text
    assert "int8 static" in text


def test_without_data_it_is_by_weights_and_says_so(digits: Path) -> None:
    found = sensitivity_request(Request(digits / "model.pt", target="jetson"))
    assert found.to_json()["error_of"] == "weights"
    assert {row["format"] for row in found.to_json()["layers"]} == {"int8", "fp16"}, "it has no blocks"
    assert "without --data the error is that of the weights" in shown(found)
    assert found.metric is None
