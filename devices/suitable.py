"""Whether a device is the kind of board that a target describes.

What is measured answers for the target from then on: times of another architecture, or of the processor where the
target computes on an accelerator, would be taken for the board's.
"""

from __future__ import annotations

from typing import Any

from compressor.devices.device import Device
from compressor.devices.remote import on_device
from compressor.errors import DeviceError
from compressor.targets.target import Target

__all__ = ["check_architecture", "check_provider", "same_architecture"]

_START = 300.0  # seconds: a slow board's start of Python and the runtime
_SPELLINGS = {"arm64": "aarch64", "amd64": "x86_64"}  # macOS and Windows say these


def same_architecture(arch: str, target: Target) -> bool:
    """Whether what `uname -m` says there is the target's."""
    return _SPELLINGS.get(arch.lower(), arch) == _SPELLINGS.get(target.arch.lower(), target.arch)


def check_architecture(arch: str, target: Target, url: str) -> None:
    """Raises DeviceError where `arch`, of the device at `url`, is not the target's."""
    if not same_architecture(arch, target):
        raise DeviceError(
            f"it is {arch}, and {target.name} is {target.arch}: its times say nothing of that board", where=url,
            way_out="--device names the board, --target its kind: `compress targets` lists them.",
        )  # fmt: skip


def check_provider(device: Device, target: Target) -> None:
    """Raises DeviceError where the target computes on an accelerator that the runtime there has no provider for."""
    if target.on_cpu:
        return
    told: list[dict[str, Any]] = []
    with on_device(device) as remote:
        remote.run("check", [], timeout=_START, on_event=told.append)
    known: list[str] = next((event["providers"] for event in told if event["event"] == "description"), [])
    preferred = target.providers[0].name
    if preferred not in known:
        raise DeviceError(
            f"the runtime there has no {preferred}: the processor would be measured in its place", where=device.url,
            way_out=target.runtime.install or f"Install {target.runtime.name} {target.runtime.version} there.",
        )  # fmt: skip
