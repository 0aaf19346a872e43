"""`compress doctor --device`: what a device has and lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor import device_doctor
from compressor.cli.main import run
from compressor.device_doctor import diagnose_device
from compressor.devices.device import Description, Device, Finished
from compressor.devices.emulation.root import Root
from compressor.doctor import Finding
from compressor.errors import DeviceError, DeviceLostError


class Board(Device):
    """Answers as it is told; a question that it was not told of is not found there."""

    def __init__(self, description: Description, answers: Mapping[str, str], url: str = "ssh://pi@board") -> None:
        self.url, self.description, self.answers = url, description, answers

    def push(self, *_: Any, **__: Any) -> None: ...

    def pull(self, *_: Any, **__: Any) -> None: ...

    def run(self, program: Any, **_: Any) -> Finished:
        line = " ".join(program)
        found = next((text for words, text in self.answers.items() if words in line), None)
        return Finished(127, "", "not found") if found is None else Finished(0, found, "")

    def describe(self) -> Description:
        return self.description

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        yield "/tmp/compress-x"

    def discard(self, folder: str) -> None: ...


PI = Description(
    "Linux", "aarch64", "Raspberry Pi 5 (Cortex-A76)", 4, 8 << 30, "3.11.2", {"onnxruntime": "1.31.1", "numpy": "2.4.6"}
)
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 100 1 {} 1% /tmp\n"
ANSWERS = {"df": DF.format(9_000_000), "thermal": "51234\n", "vcgencmd": "throttled=0x0\n"}


def _about(board: Board, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    monkeypatch.setattr(device_doctor, "open_device", lambda url: board)
    return {finding.subject: finding for finding in diagnose_device(board.url)}


def test_a_board_that_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _about(Board(PI, ANSWERS), monkeypatch)
    assert {finding.status for name, finding in found.items() if name != "ssh"} == {"ok"}
    assert found["cpu"].detail == "Raspberry Pi 5 (Cortex-A76), 4 cores"
    assert found["working folder"].detail == "/tmp, 9.2 GB free"
    assert found["temperature"].detail == "51 °C"
    assert found["throttling"].detail == "readable: throttled=0x0"
    assert found["its onnxruntime"].detail == "1.31.1"


def test_what_a_board_lacks_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Description("Linux", "aarch64", "NVIDIA Jetson Orin Nano", 6, 0, "3.10.1", {})
    found = _about(Board(bare, {"df": DF.format(1000)}), monkeypatch)
    assert {name for name, finding in found.items() if finding.status == "missing"} - {"ssh"} == {
        "its onnxruntime", "its numpy",
    }  # fmt: skip
    warned = {name for name, finding in found.items() if finding.status == "warning"}
    assert warned == {"memory", "working folder", "temperature", "power"}
    assert all(finding.way_out for finding in found.values() if finding.status != "ok")
    assert "compress targets jetson" in found["its onnxruntime"].way_out, "PyPI's build has no TensorRT"
    pi = _about(Board(replace(bare, cpu="Raspberry Pi 5"), {"df": DF.format(1000)}), monkeypatch)
    assert "pip install onnxruntime" in pi["its onnxruntime"].way_out


def test_a_board_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    phone = Description("Android", "aarch64", "", 8, 1 << 33, "")
    found = _about(Board(phone, ANSWERS, "adb://x1"), monkeypatch)
    assert found["python"].status == "missing"
    assert "?python=" in found["python"].way_out
    assert "its onnxruntime" not in found


def test_a_board_with_the_gpu_build_of_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = Description(
        "Linux", "aarch64", "NVIDIA Jetson", 6, 1 << 33, "3.10", {"onnxruntime-gpu": "1.23", "numpy": "1"}
    )
    found = _about(Board(jetson, {**ANSWERS, "ina3221": "VDD_IN\n"}), monkeypatch)
    assert found["its onnxruntime-gpu"].status == "ok"
    assert found["power"].detail == "readable: VDD_IN"


def test_a_jetson_whose_runtime_knows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = Description("Linux", "aarch64", "NVIDIA Jetson", 6, 1 << 33, "3.10", {"onnxruntime": "1.31", "numpy": "1"})
    found = _about(Board(jetson, {**ANSWERS, "ina3221": "VDD_IN\n"}), monkeypatch)["its onnxruntime"]
    assert (found.status, found.detail) == ("warning", "1.31, which computes on the processor alone")
    assert "onnxruntime-gpu" in found.way_out


def test_this_machine_answers() -> None:
    found = {finding.subject: finding for finding in diagnose_device("local")}
    assert found["device"].status == found["python"].status == found["its onnxruntime"].status == "ok"
    assert "GB free" in found["working folder"].detail


def test_what_this_machine_lacks_to_reach_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_SSH", str(tmp_path / "ssh"))
    monkeypatch.setenv("COMPRESS_ADB", str(tmp_path / "adb"))
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "qemu"))
    monkeypatch.setattr(device_doctor, "find_spec", lambda name: None)
    for url, subjects, way_out in (
        ("ssh://board", ["ssh"], "openssh-client"), ("adb://x1", ["adb"], "apt install adb"),
        ("qemu://cortex-a76", ["emulation"], "setup qemu"),
        ("rpc://localhost:1?via=ssh://board", ["apache-tvm", "ssh"], "[tvm]"),
    ):  # fmt: skip
        found = diagnose_device(url)
        assert [finding.subject for finding in found] == [*subjects, "device"]
        assert {finding.status for finding in found} == {"missing"}
        assert way_out in found[0].way_out


def test_an_emulated_board_that_cannot_count_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    for reason, status in (("there is no C compiler here. apt install gcc", "warning"), ("", "ok")):
        Root(tmp_path, "python3.11", {}, ("cortex-a76",), reason).save()
        found = {finding.subject: finding for finding in diagnose_device("qemu://cortex-a76")}
        assert found["instructions"].status == status
        assert found["instructions"].way_out == ("apt install gcc" if reason else "")


def test_a_board_that_is_lost_in_the_middle_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Board):
        def folder(self) -> contextlib.AbstractContextManager[str]:
            raise DeviceLostError("the connection was lost", where=self.url, way_out="Look at it.")

    found = _about(Lost(PI, ANSWERS), monkeypatch)
    assert found["device"] == Finding("device", "missing", "ssh://pi@board: the connection was lost", "Look at it.")
    assert found["system"].status == "ok"


def test_a_bad_url_is_the_users_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match="unknown kind"):
        diagnose_device("shs://board")
    assert run(["doctor", "--device", "ssh://-x"]) == 2
    assert "host's name" in capsys.readouterr().err
    assert run(["doctor", "--device", "local", "--target", "host"]) == 2
    assert run(["doctor", "--device", "local"]) == 0
    assert "working folder" in capsys.readouterr().out
