"""`compress bench`: the table, JSON and plot, and what is refused before anything runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_device import OwnDevice, program

from compressor.cli.main import run
from compressor.devices import opening

QUICK = ["--time", "1ms", "--threads", "1", "-q"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnDevice]:
    made = OwnDevice()
    monkeypatch.setattr(opening, "open_device", lambda url: made)
    yield made
    assert all(not folder.exists() for folder in made.folders)


def test_a_table_and_a_page(
    digits_bundle: Path, tmp_path: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.html"
    assert run(["bench", str(digits_bundle), *QUICK, "--plot", str(plot)]) == 0
    told = capsys.readouterr().out
    for word in ("p50", "p90", "p99", "peak memory", "throughput", "first run", "no sensor"):
        assert word in told
    assert "<svg" in plot.read_text(encoding="utf-8")


def test_json_and_an_svg(
    digits_bundle: Path, tmp_path: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.svg"
    assert run(["bench", str(digits_bundle), *QUICK, "--json", "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"][0]["runs"] >= 50
    assert found["threads"] == 1
    assert plot.read_text(encoding="utf-8").startswith("<svg")


def test_a_given_power_and_intensity_make_an_estimate_that_is_labelled(
    digits_bundle: Path, tmp_path: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = [str(digits_bundle), str(shutil.copytree(digits_bundle, tmp_path / "other"))]
    assert run(["bench", *bundles, *QUICK, "--power", "7W", "--carbon", "36", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, other = found["cycles"]
    energy = first["energy"]
    assert energy["source"] == "estimated: latency × 7 W (given)"
    assert energy["joules"]["low"] <= energy["joules"]["value"] <= energy["joules"]["high"]
    assert energy["kwh_per_1000"] == pytest.approx(energy["joules"]["value"] / 3600)
    assert energy["co2e_g_per_1000"] == pytest.approx(energy["joules"]["value"] / 100)
    assert first["making"]["joules"] > 0
    assert first["break_even"] is None
    assert other["break_even"]["when"] in ("always", "never", "equal")  # made alike
    assert found["carbon"] == {"g_per_kwh": 36.0, "source": "given"}


def test_without_power_the_table_says_so(
    digits_bundle: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(digits_bundle), *QUICK]) == 0
    assert "no power declared" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("allowed", [False, True])
def test_a_throttled_run_is_rejected_unless_allowed(
    digits_bundle: Path, tmp_path: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str], allowed: bool
) -> None:
    device.path = program(tmp_path / "bin", "vcgencmd", 'test "$1" = get_throttled && echo throttled=0x1')
    status = run(["bench", str(digits_bundle), *QUICK, *(["--allow-throttled"] if allowed else [])])
    told = capsys.readouterr()
    assert status == (0 if allowed else 1)
    assert ("p50" in told.out) == allowed
    assert "under-voltage" in (told.out if allowed else told.err)
    assert allowed or "--allow-throttled" in told.err


def test_an_emulated_device_shows_no_time(
    digits_bundle: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.timed = False
    assert run(["bench", str(digits_bundle), *QUICK]) == 0
    told = capsys.readouterr().out
    assert "verified; time means nothing under emulation" in told
    assert "p50" not in told


def test_what_is_wrong_here_is_told_before_a_board_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opening, "open_device", lambda url: pytest.fail(f"{url} was opened"))
    assert run(["bench", str(tmp_path / "absent"), "--device", "ssh://nowhere"]) == 2
    assert "absent" in capsys.readouterr().err


def test_a_plot_of_an_emulated_device_is_refused_before_it_runs(
    digits_bundle: Path, tmp_path: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.timed = False
    assert run(["bench", str(digits_bundle), *QUICK, "--plot", str(tmp_path / "plot.svg")]) != 0
    told = capsys.readouterr()
    assert "no times to draw" in told.err
    assert told.out == ""
    assert not device.folders


def test_a_lost_device_says_that_the_same_command_goes_on(
    digits_bundle: Path, device: OwnDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.lost_after = 2
    assert run(["bench", str(digits_bundle), *QUICK]) == 1
    assert "the same command goes on" in capsys.readouterr().err
    device.lost_after = None
    assert run(["bench", str(digits_bundle), *QUICK[:-1]]) == 0
    assert "going on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["absent"], [".", "--time", "5"], [".", "--time", "0s"], [".", "--plot", "plot.png"],
        [".", "--power", "much"], [".", "--power", "0W"], [".", "--power", "1e9"], [".", "--carbon", "-1"],
        [".", "--carbon", "nan"], [".", "--plot", "/no/such/folder/plot.svg"],
        [".", "--threads", "0"], [".", "--device", "nonsense://x"],
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_with_one_message(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *arguments]) == 2
    told = capfd.readouterr()
    assert "Traceback" not in told.err
    assert told.err.strip()
    assert told.out == ""
