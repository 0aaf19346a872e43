"""Energy from made-up sensors: trees of /sys as JetPack 4, 5 and 6 and powercap have them, and a made-up vcgencmd."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from own_device import program

from compressor.devices.runner.power import Meter, Sensor, find_sensor

HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
RAPL = "sys/class/powercap"


@pytest.fixture(autouse=True)
def _no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def write(root: Path, folder: str, files: dict[str, object]) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / folder / name).write_text(f"{content}\n")


def rail(number: int, label: str, millivolts: int, milliamperes: int) -> dict[str, object]:
    return {
        f"in{number}_label": label, f"in{number}_input": millivolts, f"curr{number}_input": milliamperes,
    }  # fmt: skip


def test_jetpack_5_and_6_the_module_is_vdd_in(tmp_path: Path) -> None:
    rails = {**rail(1, "VDD_IN", 5000, 1200), **rail(2, "VDD_CPU_GPU_CV", 5000, 400), **rail(3, "VDD_SOC", 5000, 300)}
    write(tmp_path, HWMON, rails)
    sensor = find_sensor(str(tmp_path))
    assert sensor is not None
    assert sensor.name == "INA3221 VDD_IN"
    assert sensor.read() == pytest.approx(6.0)


def test_without_a_total_the_rails_are_summed_and_unconnected_ones_skipped(tmp_path: Path) -> None:
    rails = {**rail(1, "VDD_GPU_SOC", 20000, 100), **rail(2, "NC", 20000, 900), **rail(3, "VDD_CPU_CV", 20000, 50)}
    write(tmp_path, HWMON, {**rails, "in7_label": "sum of shunt voltages", "in7_input": 3})
    sensor = find_sensor(str(tmp_path))
    assert sensor is not None
    assert sensor.name == "INA3221 VDD_GPU_SOC+VDD_CPU_CV"
    assert sensor.read() == pytest.approx(3.0)


def test_jetpack_4(tmp_path: Path) -> None:
    write(tmp_path, IIO, {
        "rail_name_0": "POM_5V_IN", "in_power0_input": 2500, "rail_name_1": "POM_5V_GPU", "in_power1_input": 40,
        "rail_name_2": "NC",
    })  # fmt: skip
    sensor = find_sensor(str(tmp_path))
    assert sensor is not None
    assert sensor.name == "INA3221 POM_5V_IN"
    assert sensor.read() == pytest.approx(2.5)


PMIC = """\
     3V7_WL_SW_A current(0)=0.10000000A
      1V8_SYS_A current(1)=-0.10000000A
   VDD_CORE_A current(7)=2.00000000A
     3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.90000000V
      1V8_SYS_V volt(9)=1.80000000V
      EXT5V_V volt(24)=5.13000000V
"""


def test_a_raspberry_pi_5_is_the_sum_of_pairs(tmp_path: Path) -> None:
    program(tmp_path / "bin", "vcgencmd", f"test $1 = pmic_read_adc || exit 1\n/bin/cat <<X\n{PMIC}X")
    sensor = find_sensor(str(tmp_path))
    assert sensor is not None
    assert sensor.read() == pytest.approx(0.1 * 3.7 - 0.1 * 1.8 + 2.0 * 0.9)


def test_a_raspberry_pi_4_has_no_such_sensor(tmp_path: Path) -> None:
    program(tmp_path / "bin", "vcgencmd", "echo error=1 error_msg='Command not registered'")
    assert find_sensor(str(tmp_path)) is None


def test_rapl_counts_packages_and_begins_again_at_its_range(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1", "intel-rapl:2": "psys"}
    for zone, name in zones.items():
        write(tmp_path, f"{RAPL}/{zone}", {"name": name, "energy_uj": 900_000, "max_energy_range_uj": 1_000_000})
    sensor = find_sensor(str(tmp_path))
    assert sensor is not None
    assert sensor.name == "RAPL package-0+package-1"
    first = sensor.read()
    write(tmp_path, f"{RAPL}/intel-rapl:0", {"energy_uj": 100_000})
    write(tmp_path, f"{RAPL}/intel-rapl:1", {"energy_uj": 950_000})
    second = sensor.read()
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(0.2 + 0.05)


def test_counters_that_only_root_may_read_are_no_sensor(tmp_path: Path) -> None:
    write(tmp_path, f"{RAPL}/intel-rapl:0", {"name": "package-0", "max_energy_range_uj": 10})
    assert find_sensor(str(tmp_path)) is None


class Constant(Sensor):
    name, interval = "constant", 0.001

    def __init__(self, *values: float | None, counts: bool = False) -> None:
        self.values, self.counts = list(values), counts

    def read(self) -> float | None:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


def test_constant_power_times_time_is_the_energy() -> None:
    with Meter(Constant(4.0)) as meter:
        time.sleep(0.02)
    assert meter.samples > 3
    assert meter.seconds > 0.02
    assert meter.joules == pytest.approx(4.0 * meter.seconds)
    assert meter.watts == pytest.approx(4.0)


def test_the_power_between_two_samples_is_their_mean() -> None:
    meter = Meter(Constant(1.0))
    meter.points = [(0.0, 1.0), (2.0, 3.0), (3.0, 3.0)]
    assert meter.joules == pytest.approx(4.0 + 3.0)


def test_a_counter_is_read_at_both_ends() -> None:
    with Meter(Constant(10.0, 11.0, 13.5, counts=True)) as meter:
        time.sleep(0.01)
    assert meter.joules == pytest.approx(3.5)


def test_a_sensor_that_stops_answering_gives_no_figure() -> None:
    with Meter(Constant(4.0, 4.0, None)) as meter:
        time.sleep(0.01)
    assert meter.joules is None
    assert meter.watts is None
