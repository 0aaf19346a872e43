"""Bundles on a device: compared first, timed side by side, and gone on with after the device was lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from bundles import off_golden
from own_device import OwnDevice, counting, program

from compressor.devices import artifact
from compressor.devices.bench import Limits, bench
from compressor.devices.latency.history import past
from compressor.devices.runners import RUNNER, python_runner
from compressor.errors import CompressError, DeviceError, ExportError, LoadError, MismatchError

QUICK = Limits(seconds=0.0, runs=3, warmup=0.0, energy=0.01, threads=1)


@pytest.fixture(scope="module")
def pair(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    other = tmp_path_factory.mktemp("bundles") / "other"
    shutil.copytree(digits_bundle, other)
    return [digits_bundle, other]


def test_two_bundles_are_checked_loaded_alone_and_timed_together(pair: list[Path], tmp_path: Path) -> None:
    device = OwnDevice()
    found = bench(device, pair, QUICK, folder=tmp_path / "state")
    assert device.tasks == ["check", "load", "load", "rounds"], "and no energy without a sensor"
    exact = {"NVIDIA_TF32_OVERRIDE": "0"}  # what is compared is exact; what is timed is what applications run
    assert device.environments == {"check": exact, "load": {}, "rounds": {}}
    first, second = found.figures
    assert [first.name, second.name] == ["digits-web", "other"]
    for each in found.figures:
        assert 0 < each.min <= each.p50 <= each.p90 <= each.p99
        assert each.runs >= 3
        assert each.errors["output"] <= each.tolerance
        assert each.peak_memory_bytes is not None
        assert each.peak_memory_bytes >= (each.runtime_bytes or 0) > 0
        assert each.energy is None
    [comparison] = found.comparisons
    assert (comparison.baseline, comparison.name) == ("digits-web", "other")
    assert comparison.low <= comparison.ratio <= comparison.high
    assert list((tmp_path / "state").iterdir()) == [], "a finished run leaves no state"
    assert json.loads(json.dumps(found.to_json()))["figures"][1]["name"] == "other"


def test_a_golden_mismatch_names_output_and_error_and_nothing_is_timed(digits_bundle: Path, tmp_path: Path) -> None:
    device = OwnDevice()
    broken = off_golden(digits_bundle, tmp_path / "broken")
    with pytest.raises(MismatchError, match=r"'output' is \d\.\d+e[+-]\d+ off") as told:
        bench(device, [digits_bundle, broken], QUICK, folder=tmp_path / "state")
    assert str(broken) in str(told.value)
    assert device.tasks == ["check"]
    assert list((tmp_path / "state").iterdir()) == []
    assert not device.folders[0].exists()


def test_a_bundle_whose_files_were_changed_is_not_even_pushed(digits_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(digits_bundle, broken)
    with (broken / "model.onnx").open("ab") as file:
        file.write(b"x")
    device = OwnDevice()
    with pytest.raises(LoadError, match=r"model\.onnx"):
        bench(device, [broken], QUICK)
    assert device.folders == []


def test_a_model_that_the_runtime_there_cannot_load_is_told(
    digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = tmp_path / "runner"
    shutil.copytree(RUNNER, runner, ignore=shutil.ignore_patterns("__pycache__"))
    source = (runner / "model.py").read_text()
    (runner / "model.py").write_text(source.replace("    gc.collect()\n", "    raise JobError('load', 'opset 26')\n"))
    kind = dataclasses.replace(artifact.KINDS[0], runner=python_runner(runner))
    monkeypatch.setattr(artifact, "KINDS", (kind,))
    with pytest.raises(ExportError, match="opset 26"):
        bench(OwnDevice(), [digits_bundle], QUICK)


def test_an_emulated_device_is_checked_and_never_timed(pair: list[Path], tmp_path: Path) -> None:
    device = OwnDevice(timed=False)
    found = bench(device, pair, QUICK, folder=tmp_path)
    assert device.tasks == ["check"]
    assert not found.timed
    assert found.figures == found.comparisons == ()
    assert {name: set(errors) for name, errors in found.errors.items()} == {
        "digits-web": {"output"}, "other": {"output"},
    }  # fmt: skip


def test_an_emulated_device_that_counts_compares_instructions(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = counting(tmp_path / "site", 3_000_000, monkeypatch)
    found = bench(device, pair, QUICK, folder=tmp_path / "state")
    assert device.tasks == ["check", "count"]
    assert found.instructions == {"digits-web": 3_000_000, "other": 3_000_000}
    assert found.instruction_ratios == {"digits-web": 1.0, "other": 1.0}
    assert found.figures == found.notes == ()
    told = json.loads(json.dumps(found.to_json()))
    assert told["instructions"]["other"] == 3_000_000
    assert told["instruction_ratios"]["other"] == 1.0
    assert not [name for name in told if name.endswith("_ms") or name == "latency"]


def test_an_emulator_without_a_count_is_told(digits_bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"not counted: the emulator wrote no count\n.*--force"):
        bench(OwnDevice(timed=False, counted=True), [digits_bundle], QUICK)
    [note] = bench(OwnDevice(timed=False), [digits_bundle], QUICK).notes
    assert "instructions are not counted" in note


PMIC = "printf 'VDD_CORE_A current(7)=2.0A\\nVDD_CORE_V volt(15)=1.5V\\n'"


def pi(folder: Path, bits: str) -> OwnDevice:
    """A Raspberry Pi 5 that draws 3 W; `bits` is a shell word."""
    script = f'if [ "$1" = pmic_read_adc ]; then {PMIC}; else echo throttled={bits}; fi'
    return OwnDevice(path=program(folder, "vcgencmd", script))


def test_energy_is_measured_where_there_is_a_sensor(digits_bundle: Path, tmp_path: Path) -> None:
    found = bench(pi(tmp_path / "bin", "0x0"), [digits_bundle], QUICK)
    [each] = found.figures
    assert each.energy is not None
    assert each.energy.watts == pytest.approx(3.0)
    assert each.energy.idle_watts == pytest.approx(3.0)
    assert each.energy.above_idle_mj == pytest.approx(0.0, abs=1e-6)
    assert each.energy.mj > 0
    assert found.throttled == ()


def test_a_board_that_is_slow_already_is_not_timed(digits_bundle: Path, tmp_path: Path) -> None:
    device = pi(tmp_path / "bin", "0x4")
    with pytest.raises(CompressError, match=r"throttled(.|\n)*--allow-throttled") as told:
        bench(device, [digits_bundle], QUICK, folder=tmp_path / "state")
    assert told.value.exit_code == 1
    assert device.tasks == ["check"]
    assert list((tmp_path / "state").iterdir()) == [], "a cool board begins anew"


def test_one_that_throttles_during_the_run_is_rejected_or_marked(digits_bundle: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    later = f"$(echo >> {count}; if [ $(wc -l < {count}) -gt 2 ]; then echo 0x80000; else echo 0x0; fi)"
    device = pi(tmp_path / "bin", later)
    with pytest.raises(CompressError, match="during the run the board reported: soft temperature limit"):
        bench(device, [digits_bundle], QUICK)
    assert "rounds" in device.tasks
    count.unlink()
    found = bench(pi(tmp_path / "bin", later), [digits_bundle], QUICK, allow_throttled=True)
    assert found.throttled == ("during the run the board reported: soft temperature limit",)
    assert found.figures


def test_threads_are_the_boards_cores_unless_given(digits_bundle: Path) -> None:
    assert bench(OwnDevice(timed=False), [digits_bundle]).threads == 1
    assert bench(OwnDevice(timed=False), [digits_bundle], Limits(threads=3)).threads == 3


def test_a_provider_that_is_not_there_is_noted(digits_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "jetson"
    shutil.copytree(digits_bundle, out)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "target": "jetson-orin-nano"}))
    found = bench(OwnDevice(), [out], QUICK)
    assert any("CUDAExecutionProvider" in note and "it ran on CPUExecutionProvider" in note for note in found.notes)


def test_bundles_of_one_name_are_told_apart(digits_bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / digits_bundle.name
    shutil.copytree(digits_bundle, again)
    found = bench(OwnDevice(timed=False), [digits_bundle, again], QUICK)
    assert set(found.errors) == {str(digits_bundle), str(again)}


def predicted(bundle: Path, out: Path, target: str) -> Path:
    """A copy that was made for another target and predicted to take a millisecond there."""
    shutil.copytree(bundle, out)
    manifest = json.loads((out / "manifest.json").read_text())
    what = {"program": "p", "threads": 1, "batch": 1, "source": "s", "latency_ms": 1.0, "raw_ms": 1.0}
    (out / "manifest.json").write_text(json.dumps({**manifest, "target": target, "predicted": what}))
    return out


@pytest.mark.parametrize(("target", "taught"), [("x86-64", 1), ("raspberry-pi-5", 0)])
def test_only_the_targets_own_kind_of_board_teaches_its_latency_model(
    digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, taught: int
) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("compressor.devices.bench.unsteadiness", lambda *_: [])  # however busy this machine is
    bench(OwnDevice(), [predicted(digits_bundle, tmp_path / "bundle", target)], QUICK, folder=tmp_path / "state")
    assert len(past(target, "", "s").errors) == taught


def test_a_processor_in_place_of_an_accelerator_teaches_nothing(
    digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("compressor.devices.bench.unsteadiness", lambda *_: [])
    monkeypatch.setattr("compressor.devices.latency.learning.same_architecture", lambda *_: True)
    bundle = predicted(digits_bundle, tmp_path / "bundle", "jetson-orin-nano")
    found = bench(OwnDevice(), [bundle], QUICK, folder=tmp_path / "state")
    assert any("TensorrtExecutionProvider" in note for note in found.notes)
    assert past("jetson-orin-nano", "", "s").errors == ()


def test_a_decoder_answers_after_its_golden_vectors(decoder_bundle: Path, digits_bundle: Path, tmp_path: Path) -> None:
    device = OwnDevice()
    found = bench(device, [decoder_bundle, digits_bundle], QUICK, folder=tmp_path / "state")
    assert device.tasks == ["check", "load", "load", "rounds", "decode"]
    first, second = found.figures
    assert first.answer is not None
    assert (first.answer.read, first.answer.steps) == (32, 32)
    assert first.answer.token_ms > 0
    assert second.answer is None
    assert json.loads(json.dumps(found.to_json()))["figures"][0]["answer"]["first_ms"] == first.answer.first_ms
