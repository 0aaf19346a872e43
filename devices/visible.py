"""What can be used right now: this machine, attached Android devices, CPUs that emulation is set up for."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.devices.emulation.root import find_root
from compressor.devices.programs import find
from compressor.devices.transports.adb import attached

__all__ = ["Seen", "seen"]


@dataclass(frozen=True)
class Seen:
    """A device by its URL; `state` is "ready", or why it cannot be used."""

    url: str
    state: str


def seen() -> list[Seen]:
    """Look. Raises DeviceError where adb is there and fails."""
    found = [Seen("local", "ready")]
    if find("adb") is not None:
        found += [
            Seen(f"adb://{serial}", "ready" if state == "device" else state) for serial, state in attached().items()
        ]
    root = find_root()
    return found + [Seen(f"qemu://{cpu}", "ready, emulated: not timed") for cpu in (root.cpus if root else ())]
