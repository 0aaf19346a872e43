"""What is measured has to be of the target's kind of board: its architecture, and its accelerator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from own_device import OwnDevice

from compressor.devices.suitable import check_architecture, check_provider, same_architecture
from compressor.errors import DeviceError
from compressor.targets import load_target


@pytest.mark.parametrize(("arch", "same"), [("aarch64", True), ("arm64", True), ("x86_64", False), ("armv7l", False)])
def test_architectures_are_the_same_however_they_are_spelled(arch: str, same: bool) -> None:
    target = load_target("raspberry-pi-5")
    assert same_architecture(arch, target) == same
    assert same_architecture("aarch64", replace(target, arch="arm64")), "macOS says so of itself"


def test_a_board_of_another_architecture_is_refused() -> None:
    target = load_target("raspberry-pi-5")
    check_architecture("aarch64", target, "ssh://pi@board")
    with pytest.raises(DeviceError, match="it is x86_64, and raspberry-pi-5 is aarch64") as caught:
        check_architecture("x86_64", target, "local")
    assert "--target" in caught.value.way_out


def test_a_processor_does_not_stand_in_for_an_accelerator() -> None:
    device, target = OwnDevice(), board("NoSuchExecutionProvider")
    with pytest.raises(DeviceError, match="no NoSuchExecutionProvider: the processor would be measured") as caught:
        check_provider(device, target)
    assert "onnxruntime 1.31" in caught.value.way_out
    told = replace(target, runtime=replace(target.runtime, install="pip install it"))
    with pytest.raises(DeviceError) as caught:
        check_provider(device, told)
    assert caught.value.way_out == "pip install it"
    assert all(not folder.exists() for folder in device.folders)


def test_what_the_processor_computes_is_not_asked_about() -> None:
    device = OwnDevice()
    check_provider(device, board())
    assert device.tasks == []


def test_an_accelerator_that_is_there_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.targets.target.Target.on_cpu", False)  # as if the processor's were one
    device = OwnDevice()
    check_provider(device, board())
    assert device.tasks == ["check"]
