"""What can be used right now: this machine, attached Android devices, CPUs that emulation is set up for."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.devices.emulation.root import find_root
from compressor.devices.programs import find
from compressor.devices.transports.adb import attached
from compressor.errors import CompressError

__all__ = ["Seen", "seen"]


@dataclass(frozen=True)
class Seen:
    """A device, or a kind of them, by its URL; `state` is "ready", or why it cannot be used."""

    url: str
    state: str


def seen() -> list[Seen]:
    """Look. An adb that is there and fails hides no other."""
    found = [Seen("local", "ready")]
    if find("adb") is not None:
        try:
            states = attached()
        except CompressError as error:
            found.append(Seen("adb://", f"cannot be listed: {error.what}"))
        else:
            found += [Seen(f"adb://{name}", "ready" if state == "device" else state) for name, state in states.items()]
    root = find_root()
    return found + [Seen(f"qemu://{cpu}", "ready, emulated: not timed") for cpu in (root.cpus if root else ())]
