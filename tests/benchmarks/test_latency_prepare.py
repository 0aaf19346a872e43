"""Which whole models are prepared, and what is done to them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from latency_models import FAMILIES, variant
from latency_prepare import COUNT, prepare, wanted
from latency_treatments import dropped, low_rank

from compressor.devices.latency.subject import read


def test_every_family_and_every_treatment_is_there() -> None:
    chosen = list(wanted(COUNT))
    assert len({each.name for each in chosen}) == COUNT >= 300
    assert set(Counter(each.family for each in chosen)) == set(FAMILIES)
    assert {each.how for each in chosen} == {"plain", "int8", "int4", "int2", "pruned", "lowrank", "dropped"}


def test_a_model_is_prepared_and_read_again(tmp_path: Path) -> None:
    each = next(each for each in wanted(40) if each.family == "squeezenet" and each.how == "plain")
    assert prepare(each, tmp_path) == "prepared"
    assert read(tmp_path, each.name).style == "squeezenet plain"


def test_low_rank_and_dropped_blocks_take_away() -> None:
    full = variant("resnet", 1040)
    count = sum(p.numel() for p in full.module.parameters())
    assert dropped(full.module) > 0
    assert sum(p.numel() for p in full.module.parameters()) < count
    pointwise = variant("mobilenet-v1", 1040)
    count = sum(p.numel() for p in pointwise.module.parameters())
    assert low_rank(pointwise.module, 0.25) > 0
    assert sum(p.numel() for p in pointwise.module.parameters()) < count
    with torch.no_grad():
        assert pointwise.module(*pointwise.args).isfinite().all()


@pytest.mark.parametrize("family", ["resnet", "mobilenet-v3"])
def test_a_variant_is_the_same_each_time(family: str) -> None:
    first, second = variant(family, 5), variant(family, 5)
    with torch.no_grad():
        assert torch.equal(first.module(*first.args), second.module(*second.args))
