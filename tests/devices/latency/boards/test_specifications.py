"""From data sheets alone: a law that holds for the source boards is found for another one."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.devices.latency.boards.specifications import DataSheet, Specifications
from compressor.devices.latency.boards.table import LatencyTable
from compressor.errors import InputError

WORK = np.array([0.1, 0.5, 4.0])  # 10⁹ multiply–accumulates
MODELS = ("small", "middle", "large")


def board(seed: int) -> DataSheet:
    rng = np.random.default_rng(seed)
    cores, clock, macs = int(rng.integers(1, 9)), float(rng.uniform(1, 3)), float(rng.choice([2, 4, 8]))
    traits = frozenset({"in order"} if seed % 2 else ())
    return DataSheet(cores * clock * macs, cores, clock, macs, float(rng.uniform(4, 60)), 1.0, traits)


def latency(each: DataSheet) -> dict[str, float]:
    """An efficiency of 60%, 30% where instructions issue in order."""
    efficiency = 0.3 if "in order" in each.traits else 0.6
    return {m: float(1e3 * w / (each.rate * efficiency)) for m, w in zip(MODELS, WORK, strict=True)}


def learned(outliers: int = 0) -> Specifications:
    about = {f"b{seed}": board(seed) for seed in range(24)}
    columns = {name: latency(each) for name, each in about.items()}
    for name in list(columns)[:outliers]:
        columns[name] = {model: 12 * value for model, value in columns[name].items()}
    return Specifications(LatencyTable.of(columns), about)


def test_rate_and_a_trait_explain_a_new_board() -> None:
    specifications = learned()
    for seed in (100, 101, 102, 103):
        predicted = specifications.predict(board(seed))
        for model, truth in latency(board(seed)).items():
            assert predicted[model].milliseconds == pytest.approx(truth, rel=0.25)
            assert predicted[model].low < truth < predicted[model].high


def test_a_board_unlike_its_kind_counts_less() -> None:
    new = board(100)
    truth = latency(new)
    plain, spoilt = learned().predict(new), learned(outliers=1).predict(new)
    for model in MODELS:
        assert spoilt[model].milliseconds == pytest.approx(plain[model].milliseconds, rel=0.25)
        assert spoilt[model].milliseconds == pytest.approx(truth[model], rel=0.35)


def test_what_a_description_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="clock is 0"):
        DataSheet(1.0, 1, 0.0, 1, 1.0, 1.0)
    with pytest.raises(InputError, match="bandwidth is nan"):
        DataSheet(1.0, 1, 1.0, 1, float("nan"), 1.0)
    with pytest.raises(InputError, match="no description of 'x'"):
        Specifications(LatencyTable.of({"x": {"a": 1.0}}), {})
