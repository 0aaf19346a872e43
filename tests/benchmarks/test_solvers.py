"""The claims are ratios of measured cells, and the committed results are whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import solvers  # found through the line above

RESULTS = Path(solvers.__file__).parent / "results" / "solvers.json"


def test_claims_are_ratios_against_nearest() -> None:
    cells = {
        "minilm ternary nearest": {"layers": 0.6, "output": 0.5}, "minilm ternary gptq": {"layers": 0.3},
        "minilm ternary gptq+bias": {"output": 0.4}, "minilm int4 gptq": {"layers": 0.1},
    }  # fmt: skip
    found = {most: measured for _, measured, most in solvers.claims(cells)}
    assert found == pytest.approx({0.7: 0.5, 0.5: 0.8}), "what has no counterpart is not judged"


def test_relative_errors_of_layers() -> None:
    matrix, rows = torch.randn(1, 4, 8), torch.randn(1, 30, 8)
    gram = (rows.mT @ rows).double()
    assert solvers.relative(matrix, 0.9 * matrix, gram) == pytest.approx(0.1, rel=1e-4)


def test_the_committed_results_are_of_known_cells() -> None:
    cells = json.loads(RESULTS.read_text())["cells"]
    wanted = {key for name in solvers.ROWS for key in solvers._keys(name)}
    assert {"minilm ternary nearest", "minilm ternary gptq"} <= set(cells) <= wanted
    assert all(0 < cell["output"] < 10 for cell in cells.values())
