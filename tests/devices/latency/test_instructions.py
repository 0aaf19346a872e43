"""The model of instructions: weights that made a table are found again, errors are of unseen networks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compressor.devices.latency.instructions import (
    InstructionModel,
    Row,
    cross_validated,
    mape,
    read_rows,
    work_of,
    write_rows,
)
from compressor.errors import InputError
from compressor.graph.capture import capture

PROFILES = Path(__file__).resolve().parents[3] / "devices" / "profiles"
TRUE = {"macs conv2d fp32": 0.4, "macs conv2d int8": 0.1, "bytes pool": 2.0, "kernels": 5000.0}


def _rows(noise: float = 0.0) -> list[Row]:
    random, rows = np.random.default_rng(0), []
    for seed, format in itertools.product(range(20), ("fp32", "int8")):
        work = {f"macs conv2d {format}": random.uniform(1e5, 1e7), "bytes pool": random.uniform(1e3, 1e6), "kernels": 9}
        exact = 30_000 + sum(TRUE[name] * value for name, value in work.items())
        count = round(exact * np.exp(noise * random.normal()))
        rows.append(Row("plain", seed, format, work, count))
    return rows


def test_what_made_the_counts_is_found() -> None:
    model = InstructionModel.fit(_rows())
    for name in ("macs conv2d fp32", "macs conv2d int8", "bytes pool"):
        assert model.weights[name] == pytest.approx(TRUE[name], rel=1e-2)
    predicted = model.predict({"macs conv2d int8": 1e6, "bytes pool": 1e5, "kernels": 9})
    assert predicted.expected == pytest.approx(30_000 + 1e5 + 2e5 + 45_000, rel=1e-2)


def test_the_interval_is_as_wide_as_unseen_networks_lie() -> None:
    exact, noisy = InstructionModel.fit(_rows()), InstructionModel.fit(_rows(noise=0.2))
    assert 1.0 <= exact.factor < 1.05 < noisy.factor < 2.0
    predicted = noisy.predict({"kernels": 9})
    assert predicted.low < predicted.expected < predicted.high


def test_no_weight_is_negative() -> None:
    rows = [Row("plain", seed, "fp32", {"a": 10.0 + seed, "b": float(seed)}, 1000) for seed in range(10)]
    weights = InstructionModel.fit(rows).weights
    assert min(weights.values()) >= 0.0
    assert weights["calls"] == pytest.approx(1000, rel=1e-3)


def test_formats_of_a_network_are_held_out_together() -> None:
    seen_whole = Row("odd", 1, "fp32", {"a": 1.0}, 10), Row("odd", 1, "int8", {"a": 1.0}, 10)
    others = [Row("plain", seed, "fp32", {"a": 1.0}, 1000) for seed in range(5)]
    errors = [predicted for row, predicted in cross_validated([*seen_whole, *others]) if row.style == "odd"]
    assert errors == pytest.approx([1000, 1000], rel=1e-3), "neither told of the other"


def test_errors_are_shares() -> None:
    row = Row("plain", 0, "fp32", {}, 200)
    assert mape([(row, 100.0), (row, 250.0)]) == pytest.approx(0.375)


def test_too_few_networks_are_told() -> None:
    with pytest.raises(InputError, match="2 networks"):
        InstructionModel.fit(_rows()[:4])


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [Row("plain", 1, "fp32", {"kernels": 3.0, "bytes pool": 10.0}, 7), Row("vision", 2, "int8", {}, 9)]
    write_rows(tmp_path / "table.csv", rows)
    assert read_rows(tmp_path / "table.csv") == rows


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "style,seed,format,instructions,kernels\nplain,x,fp32,1,2\n"])
def test_what_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"table\.csv"):
        read_rows(tmp_path / "table.csv")


def test_work_is_summed_by_kind_of_kernel() -> None:
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(128, 10)
    program = capture(nn.Sequential(*layers).eval(), (torch.randn(2, 3, 8, 8),)).program
    work = work_of(program)
    assert work["macs conv2d fp32"] == 36 * 8 * 27
    assert work["macs depthwise fp32"] == 16 * 8 * 9
    assert work["macs matmul fp32"] == 1280
    assert work["kernels"] == 3
    assert work["bytes matmul"] == 4 * (128 + 1280 + 10 + 10)


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_the_committed_tables_predict(cpu: str) -> None:
    rows = read_rows(PROFILES / f"{cpu}.instructions.csv")
    assert {row.format for row in rows} == {"fp32", "int8"}
    assert len(rows) >= 40
    assert mape(cross_validated(rows)) < 0.4
