"""From a URL to the device that it names."""

from __future__ import annotations

from compressor.devices.device import Device
from compressor.devices.transports.local import Local
from compressor.errors import DeviceError

__all__ = ["open_device"]


def open_device(url: str) -> Device:
    """The device at `url`. Raises DeviceError for a URL that names none."""
    if url != "local":
        raise DeviceError(f"{url!r} names no device", where="--device", way_out="Known: local.")
    return Local()
