"""What a board tells of its state, from made-up trees of /sys and made-up programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_device import program

from compressor.devices.runner.conditions import clock_mhz, output_of, state


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    cpu = "devices/system/cpu"
    write(tmp_path, {
        "class/thermal/thermal_zone0/type": "cpu-thermal", "class/thermal/thermal_zone0/temp": 51250,
        "class/thermal/thermal_zone0/trip_point_0_type": "passive",
        "class/thermal/thermal_zone0/trip_point_0_temp": 85000,
        "class/thermal/thermal_zone0/trip_point_1_type": "passive",
        "class/thermal/thermal_zone0/trip_point_1_temp": 80000,
        "class/thermal/thermal_zone0/trip_point_2_type": "active",
        "class/thermal/thermal_zone0/trip_point_2_temp": 45000,
        "class/thermal/thermal_zone1/type": "gpu", "class/thermal/thermal_zone1/temp": 48000,
        "class/thermal/thermal_zone2/type": "gpu", "class/thermal/thermal_zone2/temp": 49000,
        "class/thermal/thermal_zone3/type": "off",
        f"{cpu}/cpu0/cpufreq/scaling_cur_freq": 1800000, f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": 2400000,
        f"{cpu}/cpu0/cpufreq/scaling_governor": "ondemand",
        f"{cpu}/cpu10/cpufreq/scaling_cur_freq": 2400000,
        f"{cpu}/cpu0/thermal_throttle/core_throttle_count": 3, f"{cpu}/cpu1/thermal_throttle/core_throttle_count": 4,
        f"{cpu}/cpufreq/policy0/scaling_cur_freq": 9,
    })  # fmt: skip
    return tmp_path


def test_temperatures_limits_clocks_and_counts(board: Path) -> None:
    found = state(str(board))
    assert found["temperatures"] == {"cpu-thermal": 51.25, "gpu": 48.0, "gpu 2": 49.0}
    assert found["limits"] == {"cpu-thermal": 80.0}
    assert found["clocks"] == {
        "cpu0": {"mhz": 1800.0, "max_mhz": 2400.0, "governor": "ondemand"}, "cpu10": {"mhz": 2400.0},
    }  # fmt: skip
    assert found["throttle_count"] == 7
    assert clock_mhz(str(board)) == 2400.0


def test_what_a_board_does_not_tell_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state(str(tmp_path)) == {}
    assert clock_mhz(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("bits", "now", "occurred"),
    [
        ("0x0", [], []),
        ("0x50005", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        ("0xA0000", [], ["frequency capped", "soft temperature limit"]),
        ("0xf", ["under-voltage", "frequency capped", "throttled", "soft temperature limit"], []),
    ],
)
def test_the_bits_of_a_raspberry_pi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: str, now: list[str], occurred: list[str]
) -> None:
    folder = program(tmp_path / "bin", "vcgencmd", f'test "$1" = get_throttled && echo throttled={bits}')
    monkeypatch.setenv("PATH", str(folder))
    assert state(str(tmp_path))["throttled"] == {"now": now, "occurred": occurred}


def test_the_power_mode_of_a_jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = program(tmp_path / "bin", "nvpmodel", 'test "$1" = -q && echo "NV Power Mode: MAXN_SUPER" && echo 2')
    monkeypatch.setenv("PATH", str(folder))
    assert state(str(tmp_path)) == {"power_mode": "MAXN_SUPER"}


def test_a_program_that_fails_or_hangs_tells_nothing(tmp_path: Path) -> None:
    folder = program(tmp_path / "bin", "fails", "echo text; exit 3")
    program(folder, "hangs", "exec sleep 60")
    assert output_of([str(folder / "fails")]) is None
    assert output_of([str(folder / "hangs")], timeout=0.05) is None
    assert output_of([str(folder / "absent")]) is None
