"""How many samples a timed run has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.devices.batches import dynamic_inputs, rows
from compressor.export.verify import Contents, open_bundle


@pytest.fixture(scope="module")
def bundle(digits_bundle: Path) -> Contents:
    return open_bundle(digits_bundle)


def changed(bundle: Contents, **manifest: Any) -> Contents:
    return dataclasses.replace(bundle, manifest={**bundle.manifest, **manifest})


def test_a_dynamic_batch_is_the_one_asked_for_and_a_fixed_one_stays(bundle: Contents) -> None:
    assert (dynamic_inputs(bundle), rows(bundle, 3)) == ({"x"}, 3)
    fixed = changed(bundle, inputs=[{"name": "x", "shape": [2, 1, 8, 8]}])
    assert (dynamic_inputs(fixed), rows(fixed, 3)) == (set(), 2)


def test_a_model_without_rows_counts_runs(bundle: Contents) -> None:
    scalar = dataclasses.replace(bundle, golden={"x": np.array(1.0)}, manifest={"inputs": [{"name": "x", "shape": []}]})
    assert rows(scalar, 5) == 1
