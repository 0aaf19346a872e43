"""From a URL or a saved name to the device: `with open_device("ssh://pi@board") as device: …`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from compressor.devices.address import FORMS, KINDS, Address, parse_address
from compressor.devices.device import Device
from compressor.devices.registry import saved
from compressor.errors import DeviceError, did_you_mean

__all__ = ["find_address", "open_device"]

_TRANSPORTS: Mapping[str, str] = {
    "local": "compressor.devices.transports.local:LocalDevice",
    "ssh": "compressor.devices.transports.ssh:SSHDevice",
    "adb": "compressor.devices.transports.adb:ADBDevice",
    "rpc": "compressor.devices.transports.rpc:RPCDevice",
    "qemu": "compressor.devices.transports.qemu:QEMUDevice",
}


def open_device(url_or_name: str) -> Device:
    """Reach a device. Raises DeviceError for a bad URL, an unknown name, or a device that does not answer."""
    address = find_address(url_or_name)
    module, _, name = _TRANSPORTS[address.kind].partition(":")
    device: Device = getattr(importlib.import_module(module), name)(address)
    return device


def find_address(url_or_name: str) -> Address:
    """What a URL or a saved name means; nothing is reached. Raises DeviceError."""
    if url_or_name == "local" or ":" in url_or_name or "/" in url_or_name:
        return parse_address(url_or_name)
    names = saved()
    if url_or_name not in names:
        hint = did_you_mean(url_or_name, [*names, *KINDS])
        way_out = f"{hint} `compress devices` lists the names; URLs: {FORMS}."
        raise DeviceError(f"no device is saved as {url_or_name!r}", way_out=way_out)
    return parse_address(names[url_or_name])
