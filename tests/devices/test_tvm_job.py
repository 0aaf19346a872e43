"""Bundles of TVM's measured: alone by the runner in C++, in turn with ONNX Runtime's by the one in Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from bundles import off_golden, rewritten
from decoders import VOCABULARY
from own_device import OwnDevice

from compressor.devices.bench import Limits, bench
from compressor.devices.tvm_job import architecture_of, tvm_files, tvm_job
from compressor.errors import DeviceError, DeviceLostError, LoadError, MismatchError
from compressor.export.verify import open_bundle

QUICK = Limits(seconds=0.0, runs=3, warmup=0.0, energy=0.01, threads=1)


def test_the_files_are_the_library_raw_arrays_and_a_document(tvm_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tvm_bundle)
    files = tvm_files(bundle, tmp_path, 3, 2)
    assert set(files) == {"model.so", "input-0.raw", "golden-input-0.raw", "golden-output-0.raw", "serve"}
    x = bundle.golden["x"]
    timed = np.fromfile(files["input-0.raw"], np.float32).reshape(3, 1, 8, 8)
    assert np.array_equal(timed, x[[0, 1, 0]])
    assert np.array_equal(np.fromfile(files["golden-input-0.raw"], np.float32), x.ravel())
    assert "input float32 3,1,8,8 input-0.raw x\n" in files["serve"].read_text()
    job = tvm_job(bundle, "0", 3, 2)
    assert ["golden-output", "float32", [2, 10], "0/golden-output-0.raw", "output"] in job["arrays"]
    assert job["worker"] == {"program": "runner-tvm/runner", "document": "0/serve"}
    assert (job["id"], job["model"], job["threads"]) == ("0", "0/model.so", 2)


def test_a_decoder_is_timed_a_token_at_a_time_and_answers(tvm_decoder_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tvm_decoder_bundle)
    files = tvm_files(bundle, tmp_path, 2, 1)
    lines = files["serve"].read_text().splitlines()
    assert "input float32 2,63,16 input-1.raw past_key_values.states" in lines
    assert f"decode 2 32 32 {VOCABULARY} 0" in lines
    assert lines[-2:] == [
        "slot tokens int64 batch,sequence 0 ids", "slot past float32 batch,past,16 1 past_key_values.states",
    ]  # fmt: skip
    device = OwnDevice(python=("no-such-python",))
    [found] = bench(device, [tvm_decoder_bundle], QUICK, folder=tmp_path / "state").figures
    assert device.tasks == ["check", "load", "rounds", "decode"]
    assert found.answer is not None
    assert (found.answer.read, found.answer.steps) == (32, 32)
    assert 0 < found.answer.token_ms < found.answer.first_ms * 32


def test_masks_and_places_are_filled_in(tvm_decoder_bundle: Path) -> None:
    bundle = open_bundle(tvm_decoder_bundle)
    more = [
        {"name": "attention_mask", "dtype": "int64", "shape": ["batch", "past + sequence"]},
        {"name": "position_ids", "dtype": "int64", "shape": ["batch", "sequence"]},
        {"name": "kind", "dtype": "int64", "shape": ["batch", "sequence"]},
    ]
    manifest = {**bundle.manifest, "inputs": [*bundle.manifest["inputs"], *more]}
    golden = {**bundle.golden, **{each["name"]: bundle.golden["ids"] for each in more}}
    names = (*bundle.inputs, *(str(each["name"]) for each in more))
    changed = dataclasses.replace(bundle, manifest=manifest, golden=golden, inputs=names)
    slots = tvm_job(changed, "0", 1, 1)["decoder"]["slots"]
    assert [slot[0] for slot in slots] == ["tokens", "past", "ones", "places", "zeros"]
    assert slots[2][2] == ["batch", "whole"]


def test_a_name_that_would_be_more_than_a_name_is_refused(tvm_bundle: Path, tmp_path: Path) -> None:
    bundle = dataclasses.replace(open_bundle(tvm_bundle), outputs=("y\nmodel /bin/sh",))
    with pytest.raises(LoadError, match="no name of a tensor"):
        tvm_files(bundle, tmp_path, 1, 1)


def test_it_is_measured_without_python(tvm_bundle: Path, tmp_path: Path) -> None:
    device = OwnDevice(python=("no-such-python",))
    found = bench(device, [tvm_bundle], QUICK, folder=tmp_path / "state")
    assert device.tasks == ["check", "load", "rounds"]
    [each] = found.figures
    assert each.runs >= 3
    assert 0 < each.min <= each.p50 <= each.p99
    assert each.errors["output"] <= each.tolerance
    assert each.peak_memory_bytes is not None
    assert each.peak_memory_bytes >= (each.runtime_bytes or 0) > 0
    assert each.providers == ("TVM",)
    assert set(found.versions) == {"tvm"}
    assert list((tmp_path / "state").iterdir()) == []


def test_it_is_timed_in_turn_with_a_network_of_onnx_runtime(digits_bundle: Path, tvm_bundle: Path) -> None:
    device = OwnDevice()
    found = bench(device, [digits_bundle, tvm_bundle], dataclasses.replace(QUICK, runs=40))
    assert device.tasks == ["check", "check", "load", "load", "rounds"]
    first, second = found.figures
    assert (first.name, second.name) == ("digits-web", "digits-tvm")
    assert first.providers == ("CPUExecutionProvider",)
    assert set(first.rounds) & set(second.rounds), "rounds that both were in"
    assert second.runs >= 40
    [comparison] = found.comparisons
    assert comparison.low <= comparison.ratio <= comparison.high
    assert {"onnxruntime", "tvm", "numpy", "python"} == set(found.versions)


def test_a_golden_mismatch_is_told_and_nothing_is_timed(tvm_bundle: Path, tmp_path: Path) -> None:
    device = OwnDevice()
    with pytest.raises(MismatchError, match=r"'output' is \d\.\d+e[+-]\d+ off"):
        bench(device, [off_golden(tvm_bundle, tmp_path / "broken")], QUICK)
    assert device.tasks == ["check"]


def test_a_device_that_was_lost_is_gone_on_with(tvm_bundle: Path, tmp_path: Path) -> None:
    limits = Limits(seconds=0.0, runs=400, warmup=0.0, threads=1)
    with pytest.raises(DeviceLostError, match="goes on"):
        bench(OwnDevice(lost_after=6), [tvm_bundle], limits, folder=tmp_path)
    device = OwnDevice()
    found = bench(device, [tvm_bundle], limits, folder=tmp_path)
    assert device.tasks == ["rounds"]
    assert found.figures[0].runs >= 400


def test_emulated_boards_take_none(tvm_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="emulated"):
        bench(OwnDevice(timed=False), [tvm_bundle], QUICK)


def test_a_bundle_of_both_is_timed_as_two(both_bundle: Path) -> None:
    found = bench(OwnDevice(), [both_bundle], QUICK)
    assert [each.name for each in found.figures] == ["digits-both (model.onnx)", "digits-both (model.so)"]
    assert [each.providers for each in found.figures] == [("CPUExecutionProvider",), ("TVM",)]
    assert len(found.comparisons) == 1


def test_machine_code_for_another_architecture_is_refused_before_anything_is_pushed(
    tvm_bundle: Path, tmp_path: Path
) -> None:
    assert architecture_of(tvm_bundle / "model.so") == "x86_64"
    assert architecture_of(tvm_bundle / "golden.npz") == ""
    code = bytearray((tvm_bundle / "model.so").read_bytes())
    code[18] = 0xB7
    other = rewritten(tvm_bundle, tmp_path / "other", "model.so", bytes(code))
    with pytest.raises(DeviceError, match=r"other is machine code for aarch64: this is x86_64"):
        bench(OwnDevice(), [other], QUICK)
