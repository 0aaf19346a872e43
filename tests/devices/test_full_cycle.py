"""Bundles over their lives: whose power is taken, what manifests may say, and when each beats the first."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from benches import measured

from compressor.devices.device import Description
from compressor.devices.energy import WORLD, Making
from compressor.devices.figures import Energy, Figures, versus
from compressor.devices.full_cycle import FullCycle, declared_power, full_cycles, making_of
from compressor.errors import LoadError
from compressor.export.verify import Contents, open_bundle
from compressor.targets import HOST, Figure, load_target

BOARD = Description("Linux", "aarch64", "Cortex-A76", 4, 8 << 30, "3.11.2")
POWER = {"value": 7.0, "source": "test", "arch": "aarch64"}


@pytest.fixture(scope="module")
def bundle(digits_bundle: Path) -> Contents:
    return open_bundle(digits_bundle)


def changed(bundle: Contents, **manifest: Any) -> Contents:
    return dataclasses.replace(bundle, manifest={**bundle.manifest, **manifest})


def made(bundle: Contents, joules: float) -> Contents:
    making = dataclasses.asdict(Making(9.0, 12.0, joules, False, "estimated: test"))
    return changed(bundle, making=making)


def cycles(bundles: list[Contents], *figures: Figures, power: float | None = None, batch: int = 1) -> list[FullCycle]:
    watts = None if power is None else Figure(power, "test")
    comparisons = [versus(figures[0], each) for each in figures[1:]]
    return list(full_cycles(figures, comparisons, bundles, batch, watts, WORLD))


def test_a_sensor_is_measured_and_counts_before_a_declared_power(bundle: Contents) -> None:
    [found] = cycles([bundle], measured(), power=100.0, batch=2)
    assert found.energy is not None
    assert (found.energy.joules.value, found.energy.measured) == (0.004, True)  # 8 mJ a run of two samples
    assert found.energy.above_idle_joules == pytest.approx(0.00175)
    assert found.energy.source == "measured: INA3221 VDD_IN"


def test_without_one_latency_times_power_with_the_interval_of_the_rounds(bundle: Contents) -> None:
    rounds = {0: 1.0, 1: 2.0, 2: 4.0}
    [found] = cycles([bundle], measured(energy=None, rounds=rounds), power=5.0)
    assert found.energy is not None
    assert (found.energy.joules.low, found.energy.joules.value, found.energy.joules.high) == (0.005, 0.01, 0.02)
    assert found.energy.source == "estimated: latency × 5 W (test)"


def test_without_either_no_energy_is_guessed(bundle: Contents) -> None:
    found = cycles([made(bundle, 1.0), made(bundle, 2.0)], measured("a", energy=None), measured("b", energy=None))
    assert [each.energy for each in found] == [None, None]
    assert found[1].break_even is None


def test_each_is_set_against_the_first_by_the_ratio_of_the_rounds(bundle: Contents) -> None:
    slow, quick = measured("a", 4.0, energy=None), measured("b", 2.0, energy=None)
    first, second = cycles([made(bundle, 100.0), made(bundle, 200.0)], slow, quick, power=5.0)
    assert first.break_even is None
    assert second.break_even is not None
    assert (second.break_even.when, second.break_even.count) == ("from", pytest.approx(100 / 0.010))
    assert second.break_even.sure


def test_measured_energies_are_subtracted(bundle: Contents) -> None:
    other = Energy("INA3221 VDD_IN", 4.0, None, 4.0, None, 10)
    bundles = [made(bundle, 100.0), made(bundle, 120.0)]
    found = cycles(bundles, measured("a"), measured("b", energy=other))[1].break_even
    assert found is not None
    assert found.count == pytest.approx(20 / 0.004)


def test_a_measured_and_an_estimated_energy_are_not_compared(bundle: Contents) -> None:
    bundles = [made(bundle, 1.0), made(bundle, 2.0)]
    assert cycles(bundles, measured("a"), measured("b", energy=None), power=5.0)[1].break_even is None


def test_what_making_took_is_read_from_the_manifest(bundle: Contents) -> None:
    assert making_of(bundle) is not None  # the fixture was made by this very program
    assert making_of(made(bundle, 5.0)) == Making(9.0, 12.0, 5.0, False, "estimated: test")
    without = dataclasses.replace(bundle, manifest={k: v for k, v in bundle.manifest.items() if k != "making"})
    assert making_of(without) is None


@pytest.mark.parametrize(
    "making",
    [
        3, [], {}, {"source": "x"}, {"source": "x", "measured": 1},
        *({"seconds": 1, "cpu_seconds": 1, "joules": value, "source": "x", "measured": False}
          for value in (None, -1, math.nan, math.inf, True, "1", 1e300)),
    ],
)  # fmt: skip
def test_a_making_that_is_none_is_refused(bundle: Contents, making: Any) -> None:
    with pytest.raises(LoadError, match="making"):
        making_of(changed(bundle, making=making))


def test_on_this_machine_it_is_the_hosts_power(bundle: Contents) -> None:
    expected = load_target(HOST, host_threads=1).power
    assert declared_power("local", BOARD, [changed(bundle, power=POWER)], 1) == expected


def test_on_a_board_it_is_what_the_bundles_declare_for_its_architecture(bundle: Contents) -> None:
    pi = changed(bundle, power=POWER)
    assert declared_power("ssh://pi", BOARD, [pi, pi], 4) == Figure(7.0, "test")
    assert declared_power("ssh://pi", BOARD, [pi, changed(bundle, power={**POWER, "value": 15})], 4) is None
    assert declared_power("ssh://pi", dataclasses.replace(BOARD, arch="x86_64"), [pi], 4) is None
    assert (
        declared_power("ssh://pi", BOARD, [changed(bundle, power=POWER, target=HOST)], 4) is None
    )  # another machine's
    assert declared_power("ssh://pi", BOARD, [bundle], 4) is None  # a browser's power is not declared


@pytest.mark.parametrize("power", [3, {}, {"source": "x"}, {**POWER, "value": -1}, {**POWER, "value": "7"}])
def test_a_power_that_is_none_is_refused(bundle: Contents, power: Any) -> None:
    with pytest.raises(LoadError, match="power"):
        declared_power("ssh://pi", BOARD, [changed(bundle, power=power)], 4)
