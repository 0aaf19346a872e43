"""What the committed results say: every library agrees, and dot products are where the core has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import emulated  # found through the line above

CELLS = json.loads((Path(emulated.__file__).parent / "results" / "emulated.json").read_text())["cells"]


def test_every_case_is_there_on_both_cores() -> None:
    assert set(CELLS) == {f"{name} {cpu}" for name in emulated.NAMES for cpu in emulated.BOARDS}


@pytest.mark.parametrize("key", sorted(CELLS))
def test_libraries_agree_and_sdot_is_in_the_code_that_may_have_it(key: str) -> None:
    cell = CELLS[key]
    assert cell["error"] <= (1e-4 if "fp32" in key else 2e-2)
    assert (cell["sdot"] > 0) == ("cortex-a76" in key and "fp32" not in key)


def test_the_goal_holds_for_products_on_the_core_with_dot_products() -> None:
    for name in ("int8", "ternary"):
        assert CELLS[f"linear {name} cortex-a76"]["library"] < 0.27


def test_the_network_is_one_product() -> None:
    assert emulated.Linear()(torch.zeros(emulated.ROWS, emulated.WIDTH)).shape == (8, 512)
