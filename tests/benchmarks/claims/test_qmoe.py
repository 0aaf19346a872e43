"""What the check of QMoE is made of: codes as they are meant, and grids of a column."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims.qmoe import column_of, drawn, encoded  # found through the line above

from compressor.quant.ternary import PER_ROW, dequantize_ternary, quantize_ternary


def test_drawn_codes_have_their_share_of_zeros() -> None:
    assert float((drawn(0.7, 0) == 0).float().mean()) == pytest.approx(0.7, abs=0.01)


def test_figures_of_codes() -> None:
    found = encoded(lambda seed: drawn(0.885, seed)[:64], "dictionary", 0)
    assert found["exact"] == found["chosen"] == 1
    assert 0.6 < found["dictionary"] < 0.76 < found["base3"]


@pytest.mark.parametrize("rule", ["minmax", "fitted"])
def test_a_columns_nearest_is_the_rows_rule(rule: str) -> None:
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    wanted = dequantize_ternary(quantize_ternary(weight, rule, PER_ROW))  # type: ignore[arg-type]
    nearest = column_of(weight, rule)  # type: ignore[arg-type]
    found = torch.stack([nearest(column, 0) for column in weight.double().T], 1).float()
    assert torch.equal(found, wanted)
