"""Emulated Arm cores. What emulates is marked `emulated`: python -m pytest -m emulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from emulation import emulated_root
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.emulation.cpus import CPUS
from compressor.devices.emulation.root import Root
from compressor.devices.opening import open_device
from compressor.errors import DeviceError


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return emulated_root(tmp_path_factory)


@pytest.mark.emulated
class TestQEMU(Contract):
    @pytest.fixture
    def device(self, root: Root) -> Device:
        return open_device("qemu://cortex-a76")


@pytest.mark.emulated
@pytest.mark.parametrize("cpu", sorted(CPUS))
def test_the_runtime_sees_the_core_and_computes_right(root: Root, cpu: str) -> None:
    code = (
        "import json, platform, numpy, onnxruntime\n"
        "a = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)\n"
        "part = {line.split(': ')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('CPU part')}\n"
        "print(json.dumps([platform.machine(), (a @ a.T).tolist(), [*part], onnxruntime.__version__]))"
    )
    with open_device(f"qemu://{cpu}") as device:
        done = device.run([*device.python, "-c", code], timeout=120)
        found = device.describe()
    assert done.status == 0, done.stderr
    machine, product, parts, version = json.loads(done.stdout)
    assert machine == "aarch64"
    assert product == [[14, 38, 62], [38, 126, 214], [62, 214, 366]]
    assert [int(part, 16) for part in parts] == [CPUS[cpu].part]
    assert (found.arch, found.timed) == ("aarch64", False)
    assert found.runtimes["onnxruntime"] == version == root.wheels["onnxruntime"]
    assert "emulated" in found.cpu


@pytest.mark.emulated
def test_nothing_of_this_machines_python_is_seen(root: Root) -> None:
    with open_device("qemu://cortex-a72") as device:
        code = "import importlib.metadata as m; print(sorted({d.name for d in m.distributions()}))"
        done = device.run([*device.python, "-P", "-c", code], timeout=120)  # -P: not the folder that pytest is in
    assert done.stdout.strip() == "['numpy', 'onnxruntime']", done.stderr


def test_working_folders_have_the_same_names_each_time_and_none_twice_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Root(tmp_path, "python3.11", {}, ("cortex-a76",)).save()
    with open_device("qemu://cortex-a76") as device:
        with device.folder() as first, device.folder() as second:
            assert first != second
            (Path(first) / "x").touch()
            assert Path(first).stat().st_mode & 0o777 == 0o700
        with device.folder() as again:
            assert again == first
            assert not [*Path(again).iterdir()]
    assert not [*tmp_path.glob("compress-*")]


def test_an_unknown_cpu_is_told_the_nearest() -> None:
    with pytest.raises(DeviceError, match=r"'cortex-a77'.*\n.*cortex-a7"):
        open_device("qemu://cortex-a77")
    with pytest.raises(DeviceError, match="'max'"):
        open_device("qemu://max")


def test_what_is_not_set_up_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    with pytest.raises(DeviceError, match=r"not set up.*\n.*compress devices setup qemu"):
        open_device("qemu://cortex-a76")
