"""The claims are ratios of measured cells, and the committed results are of known ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import low_rank  # found through the line above

RESULTS = Path(low_rank.__file__).parent / "results" / "low_rank.json"


def test_claims_are_ratios_against_plain_svd() -> None:
    cells = {
        "vit 0.5 layers": {"plain": 0.4, "activation": 0.35, "activation+bias": 0.3},
        "vit 0.5 plain": {"output": 0.5}, "vit 0.5 all": {"output": 0.2}, "gpt 0.5 plain": {"output": 0.5},
    }  # fmt: skip
    found = [(measured, most) for _, measured, most in low_rank.claims(cells)]
    assert found == [(pytest.approx(0.75), 0.8), (pytest.approx(0.4), 0.8)], "what has no counterpart is not judged"


def test_the_committed_results_are_of_known_cells() -> None:
    cells = json.loads(RESULTS.read_text())["cells"]
    assert set(cells) <= {key for name in low_rank.NAMES for key in low_rank._keys(name)}
    for key, cell in cells.items():
        assert 0 < cell["activation+bias" if key.endswith("layers") else "output"] < 2
