"""Calibrators: ranges hold zero, do not depend on batching, and each minimizes what it says it does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.calibrators import BINS, CALIBRATORS, MinMax, MseSearch, Percentile, calibrator
from compressor.quant.formats import INT8, UINT8, Format, choose_qparams, dequantize, quantize

NAMES = sorted(CALIBRATORS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seen(name: str, *batches: Tensor, fmt: Format = UINT8) -> tuple[float, float]:
    watcher = calibrator(name, fmt)
    for batch in batches:
        watcher.observe(batch)
    return watcher.range()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fmt", [UINT8, INT8], ids=lambda f: f.name)
def test_ranges_lie_within_what_was_seen_and_hold_zero(name: str, fmt: Format) -> None:
    for values in (noise(4000), noise(4000).abs(), -noise(4000).abs(), noise(4000) + 20):
        low, high = seen(name, values, fmt=fmt)
        assert min(float(values.min()), 0.0) <= low <= 0.0 <= high <= max(float(values.max()), 0.0)
        assert high - low > 0.3 * float(values.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_how_values_are_cut_into_batches_does_not_matter(name: str) -> None:
    values = noise(6000) * torch.linspace(0.01, 30, 6000)  # later values reach further, so bins are merged
    whole = seen(name, values)
    assert seen(name, *values.split(500)) == whole
    assert seen(name, *values.flip(0).split(700)) == whole
    assert seen(name, values) == whole


@pytest.mark.parametrize("name", NAMES)
def test_constants_zeros_and_nothing(name: str) -> None:
    assert seen(name) == (0.0, 0.0)
    assert seen(name, torch.zeros(10)) == (0.0, 0.0)
    assert seen(name, torch.empty(0)) == (0.0, 0.0)
    low, high = seen(name, torch.full((100,), 3.0))
    assert low == 0.0
    assert high == pytest.approx(3.0, rel=0.02)
    low, high = seen(name, torch.full((100,), -3.0))
    assert low == pytest.approx(-3.0, rel=0.02)
    assert high == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e-42, 1e-38, 2e-38, 1e-29, 1e-20, 1e20, 3e38])
def test_denormal_and_huge_values(name: str, size: float) -> None:
    low, high = seen(name, noise(1000).clamp(-1, 1) * size)
    assert low <= 0.0 <= high
    assert 0.0 < high <= size * 1.001
    choose_qparams((low, high), UINT8)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_before_and_after_values(name: str) -> None:
    low, high = seen(name, torch.zeros(50), torch.tensor([1e-40]), noise(500), torch.zeros(50))
    assert low < -0.5
    assert high > 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        seen(name, torch.tensor([0.0, bad]))


def test_minmax_is_exact() -> None:
    values = noise(100)
    assert seen("minmax", values) == (float(values.min()), float(values.max()))
    assert MinMax().range() == (0.0, 0.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_leaves_out_that_share_at_each_end(percentile: float) -> None:
    values = noise(50_000)
    watcher = Percentile(UINT8, percentile=percentile)
    watcher.observe(values)
    low, high = watcher.range()
    expected = torch.quantile(values, torch.tensor([1 - percentile / 100, percentile / 100]))
    assert [low, high] == pytest.approx(expected.tolist(), abs=0.01)


def test_the_histogram_counts_every_value_once() -> None:
    watcher = Percentile(UINT8)
    for scale in (1.0, 100.0, 0.01, 1e4):
        watcher.observe(noise(1000) * scale)
    assert float(watcher.counts.sum()) == 4000
    assert watcher.counts.shape == (2 * BINS,)


@pytest.mark.parametrize("fmt", [UINT8, INT8], ids=lambda f: f.name)
def test_mse_beats_minmax_on_outliers_and_every_other_symmetric_cut(fmt: Format) -> None:
    values = torch.cat([noise(20_000), torch.tensor([40.0, -35.0])])

    def error(bounds: tuple[float, float]) -> float:
        qparams = choose_qparams(bounds, fmt)
        return float((dequantize(quantize(values, qparams), qparams) - values).square().mean())

    watcher = MseSearch(fmt)
    watcher.observe(values)
    best = error(watcher.range())
    assert best < 0.95 * error(seen("minmax", values))
    assert all(best <= 1.05 * error((-cut, cut)) for cut in (1.0, 3.0, 5.0, 10.0, 20.0, 40.0))


def test_entropy_cuts_a_long_tail_and_leaves_a_flat_distribution() -> None:
    flat = torch.linspace(0, 1, 20_000)
    assert seen("entropy", flat)[1] > 0.9
    tailed = torch.cat([noise(50_000).abs(), torch.tensor([200.0])])
    assert seen("entropy", tailed)[1] < 50


def test_entropy_does_not_take_a_relus_zeros_for_signal() -> None:
    values = noise(20_000).abs()
    assert seen("entropy", values, torch.zeros(60_000)) == seen("entropy", values)


def test_unknown_names_and_senseless_percentiles() -> None:
    with pytest.raises(InputError, match="Did you mean minmax"):
        calibrator("minmaks", UINT8)
    for percentile in (50.0, 100.5, float("nan")):
        with pytest.raises(InputError, match="percentile"):
            calibrator("percentile", UINT8, percentile=percentile)
