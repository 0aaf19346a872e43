"""The runner in C++: built from its sources, told by lines, and as exact as the one in Python."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled import needs_tvm
from own_device import OwnDevice, program

from compressor.devices import tvm_runner
from compressor.devices.runner.conditions import clock_mhz, state
from compressor.devices.runner.golden import output_error
from compressor.devices.tvm_runner import PROGRAM, TVM_RUNNER, build, tvm_document
from compressor.errors import DeviceError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_tvm()
    folder = tmp_path_factory.mktemp("runner") / "there"
    build(folder)
    return folder


@pytest.fixture
def there(tvm_bundle: Path, tmp_path: Path) -> Path:
    shutil.copyfile(tvm_bundle / "model.so", tmp_path / "model.so")
    with np.load(tvm_bundle / "golden.npz") as archive:
        for name in ("x", "output"):
            archive[name].tofile(tmp_path / f"{name}.raw")
    return tmp_path


INPUT = ["float32", [2, 1, 8, 8], "x.raw", "x"]
OUTPUT = ["golden-output", "float32", [2, 10], "output.raw", "the output"]
INPUTS = [["input", *INPUT], ["golden-input", *INPUT]]
JOB: dict[str, Any] = {"id": "0", "model": "model.so", "threads": 1, "ties": 0.05, "arrays": INPUTS}


def ran(built: Path, folder: Path, task: str, *jobs: dict[str, Any], stdin: str = "", **settings: Any) -> list[Any]:
    """The events, without the last one."""
    (folder / "jobs").write_text(tvm_document({**settings, "jobs": list(jobs)}))
    command = [str(built / PROGRAM), task, str(folder / "jobs")]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)
    assert done.returncode == 0, done.stderr
    *events, last = map(json.loads, done.stdout.splitlines())
    assert last == {"event": "done"}
    return events


def test_it_checks_and_describes_itself_and_a_bad_job_stops_nobody(built: Path, there: Path) -> None:
    good = {**JOB, "arrays": [*JOB["arrays"], OUTPUT]}
    bad = {**good, "id": "bad", "model": "x.raw"}
    described, failed, golden = ran(built, there, "check", bad, good)
    assert described["tvm"] == metadata.version("apache-tvm")
    assert described["sensor"] is None
    assert (failed["id"], failed["kind"]) == ("bad", "load")
    assert golden["errors"] == {"the output": pytest.approx(0, abs=1e-5)}


def test_a_load_tells_times_and_memory(built: Path, there: Path) -> None:
    [loaded] = ran(built, there, "load", JOB)
    assert loaded["load_ms"] > 0
    assert loaded["first_ms"] > 0
    assert loaded["peak_bytes"] >= loaded["before_bytes"] > 2**20
    assert (loaded["providers"], loaded["errors"]) == (["TVM"], {})


def test_rounds_go_on_where_an_earlier_run_was_cut_off(built: Path, there: Path) -> None:
    other = {**JOB, "id": "1", "done": {"runs": 10_000, "seconds": 100.0}}
    limits = {"min_runs": 30, "min_seconds": 0.1, "warmup_seconds": 0.0, "first_round": 7, "samples": True}
    first, *rounds, last = ran(built, there, "rounds", JOB, other, root="/", **limits)
    assert first["event"] == last["event"] == "state"
    assert [event["index"] for event in rounds] == list(range(7, 7 + len(rounds)))
    blocks = [event["blocks"]["0"] for event in rounds]
    assert sum(block["runs"] for block in blocks) >= 30
    assert sum(block["seconds"] for block in blocks) >= 0.1
    for block in blocks:
        assert block["sample_ms"] == sorted(block["sample_ms"])
        assert block["min_ms"] == pytest.approx(block["sample_ms"][0], rel=1e-4)
        assert block["min_ms"] <= block["median_ms"] <= block["seconds"] * 1e3
    assert not any("1" in event["blocks"] for event in rounds), "which has had enough"


def test_it_serves_the_runner_in_python(built: Path, there: Path) -> None:
    ready, once, warm, block = ran(built, there, "serve", JOB, stdin="once\nwarm 0.01\nblock\n")
    assert ready["load_ms"] > 0
    assert len(once["seconds"]) == 1
    assert warm["seconds"] == []
    assert all(each > 0 for each in block["seconds"])


def test_the_board_s_state_is_read_as_python_reads_it(built: Path, there: Path) -> None:
    zone, core = there / "sys/class/thermal/thermal_zone0", there / "sys/devices/system/cpu/cpu0/cpufreq"
    for folder in (zone, core):
        folder.mkdir(parents=True)
    trip = {"trip_point_0_type": "passive", "trip_point_0_temp": "85000"}
    for name, text in {"type": "cpu", "temp": "51500", **trip}.items():
        (zone / name).write_text(text + "\n")
    clock = {"scaling_cur_freq": "1800000", "cpuinfo_max_freq": "2400000", "scaling_governor": "schedutil"}
    for name, text in clock.items():
        (core / name).write_text(text + "\n")
    quick = {"min_runs": 1, "min_seconds": 0.0, "warmup_seconds": 0.0}
    first, round_, _ = ran(built, there, "rounds", JOB, root=str(there), **quick)
    assert {name: first[name] for name in first if name != "event"} == state(str(there))
    assert round_["clock_mhz"] == clock_mhz(str(there)) == 1800.0


def altered(output: np.ndarray[Any, Any], how: str) -> np.ndarray[Any, Any]:
    made = output.copy()
    if how == "scaled":
        return made * np.float32(1.01)
    if how == "in half precision":
        return made.astype(np.float16)
    if how == "in double precision":
        return made.astype(np.float64)
    if how == "zero":
        return made * 0
    if how == "another shape":
        return made.reshape(10, 2)
    made[0, 0] = {"NaN": np.nan, "infinite": np.inf}[how]
    return made


@pytest.mark.parametrize(
    "how", ["scaled", "in half precision", "in double precision", "zero", "another shape", "NaN", "infinite"]
)
def test_errors_are_those_of_the_runner_in_python(built: Path, there: Path, how: str) -> None:
    output = np.fromfile(there / "output.raw", np.float32).reshape(2, 10)
    golden = altered(output, how)
    golden.tofile(there / "golden.raw")
    array = ["golden-output", str(golden.dtype), list(golden.shape), "golden.raw", "output"]
    [event] = ran(built, there, "check", {**JOB, "arrays": [*JOB["arrays"], array]})[1:]
    wanted = output_error(output, golden, 0.05)
    assert event["errors"]["output"] == pytest.approx(wanted, rel=1e-3, abs=1e-6, nan_ok=True)


def test_an_array_that_is_not_what_its_shape_says_is_told(built: Path, there: Path) -> None:
    short = {**JOB, "arrays": [["input", "float32", [3, 1, 8, 8], "x.raw", "x"]]}
    [failed] = ran(built, there, "load", short)
    assert (failed["kind"], failed["reason"]) == ("inputs", "x.raw does not hold what its shape says")


def test_a_wrong_call_is_refused(built: Path) -> None:
    done = subprocess.run([str(built / PROGRAM), "fly", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage" in done.stderr) == (2, True)


def test_what_was_built_is_kept(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_runner, "_compile", lambda folder: pytest.fail("it is there"))
    build(tmp_path / "again")
    assert (tmp_path / "again" / PROGRAM).read_bytes() == (built / PROGRAM).read_bytes()
    assert os.access(tmp_path / "again" / PROGRAM, os.X_OK)
    assert {path.name for path in built.iterdir()} == {PROGRAM, "libtvm_runtime.so", "libtvm_ffi.so"}


def test_without_a_compiler_or_with_one_that_fails_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_tvm()
    monkeypatch.setenv(
        "CXX", str(program(tmp_path / "bin", "broken", "echo 'x: fatal error: y' >&2; exit 1") / "broken")
    )
    with pytest.raises(DeviceError, match=r"cannot be built: x: fatal error: y\n.*g\+\+"):
        build(tmp_path / "runner")
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match=r"no C\+\+ compiler is here(.|\n)*apt install g\+\+"):
        build(tmp_path / "runner")
    assert not (tmp_path / "runner").exists()


def test_without_tvm_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(DeviceError, match=r"edge-compressor\[tvm\]"):
        build(tmp_path / "runner")


def test_it_runs_on_boards_of_this_machine_s_kind() -> None:
    device = OwnDevice()
    here = replace(device.describe(), system=platform.system(), arch=platform.machine())
    TVM_RUNNER.fits(device, here)
    for other in (replace(here, arch="riscv64"), replace(here, timed=False)):
        with pytest.raises(DeviceError, match="leave --runtime out"):
            TVM_RUNNER.fits(device, other)


def test_an_arm_board_gets_one_of_its_own() -> None:
    device = OwnDevice()
    board = replace(device.describe(), system="Linux", arch="aarch64", timed=False)
    found = TVM_RUNNER.fits(device, board)
    assert found is not None
    assert found.name == TVM_RUNNER.name
    assert found.fits is TVM_RUNNER.fits


def test_without_arm_s_runtime_or_compiler_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tvm()
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    monkeypatch.setattr(tvm_runner, "cross_compiler", lambda triple, glibc: ("g++",))
    with pytest.raises(DeviceError, match=r"runtime for aarch64 is not here\n.*setup qemu"):
        build(tmp_path / "runner", "aarch64")
    monkeypatch.setattr(tvm_runner, "cross_compiler", lambda triple, glibc: ())
    with pytest.raises(
        DeviceError, match=r"no C\+\+ compiler is here(.|\n)*g\+\+-aarch64-linux-gnu, or pip install ziglang"
    ):
        build(tmp_path / "runner", "aarch64")


def test_where_nothing_counts_it_says_so(built: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPRESS_COUNTS", raising=False)
    [failed] = ran(built, there, "count", JOB)
    assert (failed["kind"], failed["reason"]) == ("count", "COMPRESS_COUNTS names no file")
    monkeypatch.setenv("COMPRESS_COUNTS", str(there / "counts"))
    [failed] = ran(built, there, "count", JOB)
    assert failed["reason"] == "the emulator wrote no count"
    (there / "counts").write_text("7\n5\n")
    [counted] = ran(built, there, "count", JOB, count_runs=3, uncounted_runs=1)
    assert (counted["instructions"], counted["spread"]) == (5, 0), "the last line"


@pytest.mark.emulated
def test_instructions_of_a_library_are_counted_and_repeat(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, digits: Path
) -> None:
    """Both artifacts of a bundle, on the core that the board has."""
    from emulation import emulated_root

    from compressor.cli.main import run
    from compressor.devices.bench import bench
    from compressor.devices.opening import open_device
    from compressor.devices.tvm_emulated import lacking

    needs_tvm()
    root = emulated_root(tmp_path_factory)
    if reason := lacking("cortex-a76") or root.uncounted:
        pytest.skip(reason)
    if not tvm_runner.cross_compiler("aarch64-linux-gnu", "2.28"):
        pytest.skip("needs g++-aarch64-linux-gnu or ziglang")
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "raspberry-pi-5", "-q"]
    assert run([*arguments, "--runtime", "both", "--passes", "fold,int8", "--out", str(tmp_path / "bundle")]) == 0
    counts = []
    for _ in range(2):
        with open_device("qemu://cortex-a76") as device:
            found = bench(device, [tmp_path / "bundle"])
        assert [*found.instructions] == ["bundle (model.onnx)", "bundle (model.so)"]
        counts.append(found.instructions["bundle (model.so)"])
    assert counts[0] == counts[1] > 50_000


def test_a_document_is_lines() -> None:
    job = {
        **JOB,
        "done": {"runs": 3, "seconds": 0.5, "rounds": 2},
        "arrays": [["input", "int64", [], "a.raw", "token ids"]],
    }
    lines = tvm_document({"jobs": [job], "min_runs": 5, "samples": True, "unknown": 1}).splitlines()
    assert lines == [
        "min_runs 5", "samples 1", "job 0", "model model.so", "threads 1", "ties 0.05", "done 3 0.5 2",
        "input int64 - a.raw token ids",
    ]  # fmt: skip
