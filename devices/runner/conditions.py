"""The state a board is in: temperatures and their limits, clocks and governors, what throttles it, its power mode.

    /sys/class/thermal/thermal_zone*/{type,temp,trip_point_*_{type,temp}}        1/1000 °C
    /sys/devices/system/cpu/cpu*/cpufreq/{scaling_cur_freq,cpuinfo_max_freq,scaling_governor}        kHz
    /sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count        x86: times since boot
    vcgencmd get_throttled        Raspberry Pi: bit 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature
                                  limit; 16 to 19: the same has occurred since boot
    nvpmodel -q        Jetson

What a board does not tell is absent.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Any

__all__ = ["clock_mhz", "output_of", "read_number", "read_text", "state"]

BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
OCCURRED = 16


def state(root: str = "/") -> dict[str, Any]:
    """Everything above by name: °C, MHz."""
    temperatures, limits = _thermal(root)
    found = {
        "temperatures": temperatures,
        "limits": limits,
        "clocks": _clocks(root),
        "throttled": _throttled(),
        "throttle_count": _throttle_count(root),
        "power_mode": _power_mode(),
    }
    return {name: value for name, value in found.items() if value not in (None, {})}


def clock_mhz(root: str = "/") -> float | None:
    """The fastest clock of a core at this moment: while a model runs, that of the cores it runs on."""
    paths = glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks = [clock for clock in map(read_number, paths) if clock]
    return max(clocks) / 1e3 if clocks else None


def read_text(path: str) -> str | None:
    """A file's content without its line end; None where it cannot be read, as many under /sys."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return None


def read_number(path: str) -> float | None:
    """A file's number, or None."""
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None


def output_of(program: Sequence[str], timeout: float = 5.0) -> str | None:
    """What a program prints; None where there is none, it fails, or takes too long (seconds)."""
    try:
        done = subprocess.run(
            list(program), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            timeout=timeout, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _thermal(root: str) -> tuple[dict[str, float], dict[str, float]]:
    temperatures, limits = {}, {}
    for zone in sorted(glob.glob(os.path.join(root, "sys/class/thermal/thermal_zone*"))):
        now = read_number(os.path.join(zone, "temp"))
        if now is None:
            continue
        name = read_text(os.path.join(zone, "type")) or os.path.basename(zone)
        name = name if name not in temperatures else f"{name} {os.path.basename(zone)[len('thermal_zone') :]}"
        temperatures[name] = now / 1e3
        trips = [
            read_number(kind[: -len("type")] + "temp")
            for kind in glob.glob(os.path.join(zone, "trip_point_*_type"))
            if read_text(kind) == "passive"  # where the kernel begins to slow the board down
        ]
        known = [trip / 1e3 for trip in trips if trip is not None and trip > 0]
        if known:
            limits[name] = min(known)
    return temperatures, limits


def _clocks(root: str) -> dict[str, dict[str, Any]]:
    found = {}
    for folder in glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")):
        now, most = (read_number(os.path.join(folder, n)) for n in ("scaling_cur_freq", "cpuinfo_max_freq"))
        figures = {
            "mhz": None if now is None else now / 1e3,
            "max_mhz": None if most is None else most / 1e3,
            "governor": read_text(os.path.join(folder, "scaling_governor")),
        }
        found[os.path.basename(os.path.dirname(folder))] = {k: v for k, v in figures.items() if v is not None}
    return dict(sorted(found.items(), key=lambda item: int(item[0][len("cpu") :])))


def _throttled() -> dict[str, list[str]] | None:
    match = re.search(r"throttled=(0x[0-9a-fA-F]+)", output_of(["vcgencmd", "get_throttled"]) or "")
    if match is None:
        return None
    bits = int(match.group(1), 16)
    return {
        "now": [text for bit, text in BITS.items() if bits >> bit & 1],
        "occurred": [text for bit, text in BITS.items() if bits >> (bit + OCCURRED) & 1],
    }


def _throttle_count(root: str) -> float | None:
    pattern = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
    counts = [count for count in map(read_number, glob.glob(os.path.join(root, pattern))) if count is not None]
    return sum(counts) if counts else None


def _power_mode() -> str | None:
    match = re.search(r"NV Power Mode:\s*(\S+)", output_of(["nvpmodel", "-q"]) or "")
    return match.group(1) if match else None
