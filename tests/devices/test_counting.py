"""Instruction counts of many models: one a job, none that stops another. What really counts is `-m emulated`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulation import emulated_root
from onnx import TensorProto, helper, save
from own_device import OwnDevice, counting
from small_models import kernel

from compressor.devices.counting import Counted, an_inference, count_models
from compressor.devices.model_jobs import Job
from compressor.devices.opening import open_device
from compressor.errors import DeviceError


def _job(path: Path, width: int = 8, domain: str = "") -> Job:
    return Job(kernel(path, width, domain), {"x": {"shape": [1, width], "low": -1, "high": 1}}, threads=4)


def test_every_job_has_a_count_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = counting(tmp_path / "site", 3002, monkeypatch)
    good, bad = _job(tmp_path / "a.onnx"), _job(tmp_path / "bad.onnx", domain="no.such.domain")
    first, failed, again = count_models(device, [good, bad, good], runs=3)
    assert first == again == Counted(3002), "the median of alike runs"
    assert failed.instructions is None
    assert failed.error.startswith("load: ")
    assert device.tasks == ["count"]
    assert not device.folders[0].exists()


def test_a_device_that_does_not_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"counts no instructions\n.*setup qemu"):
        count_models(OwnDevice(), [_job(tmp_path / "a.onnx")])


def test_an_emulator_that_writes_no_count_is_told(tmp_path: Path) -> None:
    [found] = count_models(OwnDevice(timed=False, counted=True), [_job(tmp_path / "a.onnx")])
    assert found == Counted(None, "count: the emulator wrote no count")


def test_an_inference_is_the_median_run() -> None:
    assert an_inference({"instructions": 100, "runs": 3}) == 100


def _two_bits(path: Path, width: int) -> Path:
    """y = x · W, W of random 2-bit codes in blocks of 32."""
    random, blocks = np.random.default_rng(0), width // 32
    codes = random.integers(0, 256, (width, blocks, 8)).astype(np.uint8)
    scales = random.uniform(0.01, 0.02, (width, blocks)).astype(np.float32)
    weights = [
        helper.make_tensor("codes", TensorProto.UINT8, codes.shape, codes),
        helper.make_tensor("scales", TensorProto.FLOAT, scales.shape, scales),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, width)) for name in ("x", "y")]
    settings = {"K": width, "N": width, "bits": 2, "block_size": 32, "accuracy_level": 4}
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", **settings)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "kernel", values[:1], values[1:], weights)
    save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


@pytest.mark.emulated
def test_counts_repeat_to_the_last_instruction_and_tell_kernels_apart(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if reason := emulated_root(tmp_path_factory).uncounted:
        pytest.skip(f"instructions cannot be counted: {reason}")
    inputs = {"x": {"shape": [1, 256], "low": -1, "high": 1}}
    jobs = [Job(kernel(tmp_path / "fp32.onnx", 256), inputs), Job(_two_bits(tmp_path / "2.onnx", 256), inputs)]
    found = {}
    for cpu in ("cortex-a72", "cortex-a76"):
        with open_device(f"qemu://{cpu}") as device:
            once, again = count_models(device, jobs), count_models(device, jobs)
        assert once == again
        found[cpu] = [each.instructions or 0 for each in once]
    for cpu, (fp32, two) in found.items():
        assert fp32 > 256 * 256 / 4, f"{cpu}: four products an instruction at most"
        assert two > 0
    assert found["cortex-a72"][1] > 2 * found["cortex-a76"][1], "without dot products there is no integer kernel"
