"""The default is judged by geometric means over the cuts, and the committed results are of known cells."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import rates  # found through the line above

RESULTS = Path(rates.__file__).parent / "results" / "rates.json"


def _cells(name: str, passes: str, losses: dict[object, float]) -> dict[str, dict[str, float]]:
    return {rates._key(name, passes, 60, times): {"after": loss} for times, loss in losses.items()}


def test_claims_are_geometric_means_of_cuts_that_are_whole() -> None:
    cells = {
        **_cells("vit", "factorize=0.5", {1: 0.4, 2: 0.2, 4: 0.1, 10: 0.8, "default": 0.2}),
        **_cells("gpt", "factorize=0.5", {1: 0.4, 2: 0.5, 4: 0.6, 10: 0.8, "default": 0.4}),
        **_cells("gpt", "drop=0.25", {1: 0.4, 2: 0.5}),
    }
    best, base = rates.claims(cells, 60)
    assert best[1:] == (pytest.approx(2**0.5), 1.1)
    assert base[1:] == (pytest.approx(0.5**0.5), 1.0)
    assert not list(rates.claims({}, 60))


def test_the_committed_results_are_of_known_cells() -> None:
    cells = json.loads(RESULTS.read_text())["cells"]
    known = {
        rates._key(name, passes, 60, times)
        for name, cuts in rates.CUTS.items()
        for passes in cuts
        for times in (*rates.TIMES, rates.DEFAULT)
    }
    assert set(cells) <= known
    assert all(cell["rate"] > 0 and cell["after"] <= cell["before"] for cell in cells.values())
