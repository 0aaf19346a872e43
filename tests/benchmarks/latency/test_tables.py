"""What the fetching script writes is what the benchmark reads; baselines and descriptions on tiny tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import fetch_latency_data
from latency import mlperf_logs, ncnn_page
from latency.baselines import LowRank, Scale
from latency.boards import described
from latency.judge import Tally, random_samples
from latency.tables import MLPERF, NCNN, formats_of, mlperf_table, ncnn_settings, ncnn_table
from latency.works import mobile_work

from compressor.devices.latency.boards.table import LatencyTable
from compressor.errors import InputError


def test_a_second_section_of_one_board_is_a_column_of_its_own(tmp_path: Path) -> None:
    rows = [("Board, A (x 4)", "4", "0", "vgg16", 9.0, 11.0, value) for value in (10.0, 12.5)]
    assert fetch_latency_data.write(tmp_path / NCNN, ncnn_page.FIELDS, rows) == 2
    assert (tmp_path / NCNN).read_bytes().splitlines()[1] == b'"Board, A (x 4)",4,0,vgg16,9.0,11.0,10.0'
    table = ncnn_table(tmp_path)
    assert table.boards == ("Board, A (x 4)",) * 2
    np.testing.assert_allclose(table.milliseconds, [[10.0, 12.5]])
    assert ncnn_settings(table.devices[1]) == ("Board, A (x 4)", 4, 0)
    np.testing.assert_allclose(ncnn_table(tmp_path, "min").milliseconds, [[9.0, 9.0]])


def test_mlperf_keeps_systems_that_ran_all_classifiers(tmp_path: Path) -> None:
    rows = [
        ("v1.0", "open", "Krai", system, f"mobilenet-v1-{i}", 2.0 + i, 1.0 + i, "VALID")
        for system, count in (("xavier-tflite", 94), ("xavier-tflite-old", 19), ("rpi4-tflite", 94))
        for i in range(count)
    ]
    fetch_latency_data.write(tmp_path / MLPERF, mlperf_logs.FIELDS, rows)
    table = mlperf_table(tmp_path, "xavier", "tflite")
    assert table.devices == ("v1.0 xavier-tflite",)
    assert table.column("v1.0 xavier-tflite")["mobilenet-v1-3"] == 4.0
    with pytest.raises(InputError, match="no system with 'rpi5'"):
        mlperf_table(tmp_path, "rpi5", "tflite")
    with pytest.raises(InputError, match="no such table"):
        ncnn_table(tmp_path)


def test_formats_are_told_by_names() -> None:
    names = ("resnet18_int8", "x-quantized", "x-non-quantized", "v3_uint8", "v3_float")
    assert [formats_of(names)[name] for name in names] == ["int8", "int8", "fp32", "int8", "fp32"]


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        ("mobilenet-v1-1.0-224-quantized", 569), ("mobilenet-v1-0.25-128-non-quantized", 14),
        ("mobilenet-v2-1.0-224-quantized", 300), ("mobilenet-v2-1.4-224-quantized", 582),
        ("mobilenet-v3-large_224_1.0_float", 217), ("mobilenet-v3-small_224_1.0_uint8", 57),
        ("efficientnet-lite0-quantized", 385), ("efficientnet-lite4-quantized", 2550),
    ],
)  # fmt: skip
def test_work_is_what_the_authors_publish(model: str, millions: float) -> None:
    dense, depthwise = mobile_work(model)
    assert (dense + depthwise) / 1e6 == pytest.approx(millions, rel=0.055)
    assert dense > depthwise > 0


def test_baselines_find_what_they_are_made_for() -> None:
    rng = np.random.default_rng(0)
    logs = rng.uniform(0, 3, (9, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(9, 1)) @ rng.normal(size=(1, 12))
    models, names = tuple(f"m{i}" for i in range(9)), tuple(f"d{j}" for j in range(12))
    table = LatencyTable(models, names[:11], names[:11], np.exp(logs[:, :11]))
    truth = dict(zip(models, np.exp(logs[:, 11]).tolist(), strict=True))
    known = {model: truth[model] for model in models[:4]}
    found = LowRank(table, rank=2).predict(known)
    assert all(found[model] == pytest.approx(truth[model], rel=0.1) for model in models)
    one = LatencyTable(models, ("d",), ("d",), np.exp(logs[:, :1]))
    scaled = Scale(one, {m: "int8" if m == "m0" else "fp32" for m in models})
    column = one.column("d")
    predicted = scaled.predict({"m0": 2 * column["m0"], "m1": 3 * column["m1"]})
    assert predicted["m5"] == pytest.approx(3 * column["m5"])
    assert predicted["m0"] == pytest.approx(2 * column["m0"])


def test_a_run_is_described_by_the_cores_it_keeps_busy() -> None:
    name = "Rockchip RK3399 (Cortex-A72 1.8GHz x 2 + Cortex-A53 1.5GHz x 4)"
    little, all_cores, big = (described(name, 4, powersave) for powersave in (1, 0, 2))
    assert little is not None
    assert all_cores is not None
    assert big is not None
    assert (little.cores, all_cores.cores, big.cores) == (4, 4, 2)
    assert little.rate == pytest.approx(4 * 4 * 1.5)
    assert all_cores.rate == pytest.approx(2 * 4 * 1.8 + 2 * 4 * 1.5)
    assert "in order" in little.traits
    assert "in order" not in big.traits
    assert described("Some Server", 1, 0) is None


def test_shares_are_of_what_was_not_sampled() -> None:
    tally, truth = Tally(), {"a": 1.0, "b": 1.0, "c": 1.0}
    tally.add("x", truth, ["a"], {"a": 5.0, "b": 1.09, "c": 1.11})
    assert tally.figures() == {"within_10%": 0.5}
    assert random_samples("abc", 2, 3, seed=1) == random_samples("abc", 2, 3, seed=1)
