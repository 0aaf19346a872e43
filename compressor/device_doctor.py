"""What a device has, what it lacks, and what this machine has to reach it: `compress doctor --device URL`.

The device is asked through its own transport; what it answers becomes findings, each with the way to get the rest.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from compressor.devices.address import Address
from compressor.devices.device import Description, Device
from compressor.devices.emulation.root import find_root
from compressor.devices.opening import find_address, open_device
from compressor.devices.programs import WAYS_OUT, find
from compressor.doctor import Finding
from compressor.errors import CompressError

__all__ = ["diagnose_device"]

_SHORT = 60.0  # seconds for one question
_LITTLE_SPACE = 256 << 20
_SENSORS = {
    "jetson": (
        "power",
        "for f in /sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in1_label"
        " /sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_0;"
        ' do [ -r "$f" ] && cat "$f" && exit 0; done; exit 1',
        "They need JetPack's kernel, and for some a user in the group i2c or root.",
    ),
    "raspberry pi": (
        "throttling",
        "vcgencmd get_throttled",
        "Install them (apt install raspi-utils) and add the user to the group video.",
    ),
}
_TEMPERATURE = 'for f in /sys/class/thermal/thermal_zone*/temp; do [ -r "$f" ] && cat "$f" && exit 0; done; exit 1'


def diagnose_device(url_or_name: str) -> list[Finding]:
    """Look at a device. One that cannot be reached is a finding, too.

    Raises DeviceError for a bad URL or an unknown name.
    """
    address = find_address(url_or_name)
    findings = [*_reach(address)]
    try:
        with open_device(url_or_name) as device:
            findings.append(Finding("device", "ok", f"{address.url} answers"))
            findings += _about(device)
    except CompressError as error:
        findings.append(Finding("device", "missing", str(error).partition("\n")[0], error.way_out))
    return findings


def _reach(address: Address) -> Iterator[Finding]:
    """What this machine needs to have for that kind of device."""
    if address.kind in ("ssh", "adb"):
        yield _program(address.kind)
    if address.kind == "rpc":
        way_out = 'pip install "edge-compressor[tvm]"'
        if find_spec("tvm") is not None:
            yield Finding("apache-tvm", "ok", "installed")
        else:
            yield Finding("apache-tvm", "missing", "not installed", way_out)
        if "via" in address.options:
            yield _program("ssh")
    if address.kind == "qemu":
        root = find_root()
        if root is None:
            yield Finding("emulation", "missing", "not set up", "compress devices setup qemu")
        else:
            yield Finding("emulation", "ok", f"set up in {root.path}")
            what, _, way_out = root.uncounted.partition(". ")
            yield Finding("instructions", "warning" if what else "ok", what or "counted by `compress bench`", way_out)


def _program(name: str) -> Finding:
    found = find(name)
    return Finding(name, "ok", found) if found else Finding(name, "missing", "not on the PATH", WAYS_OUT[name])


def _about(device: Device) -> Iterator[Finding]:
    found = device.describe()
    yield Finding("system", "ok", f"{found.system} on {found.arch}")
    yield Finding("cpu", "ok", f"{found.cpu or 'unnamed'}, {found.cores} cores")
    memory = f"{found.memory / 1e9:.1f} GB" if found.memory else "not told"
    told = bool(found.memory)
    yield Finding("memory", "ok" if told else "warning", memory, "" if told else "It has no /proc/meminfo.")
    if not found.timed:
        yield Finding(
            "time", "warning", "emulated: for correctness and instruction counts, never timed", "Time on a real board."
        )
    yield from _python(found)
    yield _folder(device)
    if found.timed:
        yield from _sensors(device, found)


def _python(found: Description) -> Iterator[Finding]:
    if not found.python:
        way_out = "Install Python 3 there, or name it: ?python=/path/to/python3 at the end of the URL."
        yield Finding("python", "missing", "no python3 there", way_out)
        return
    yield Finding("python", "ok", found.python)
    runtime = next((name for name in ("onnxruntime-gpu", "onnxruntime") if name in found.runtimes), "")
    if "jetson" in found.cpu.lower() and runtime != "onnxruntime-gpu":
        detail = f"{found.runtimes[runtime]}, which computes on the processor alone" if runtime else "not installed"
        way_out = "`compress targets jetson` says how onnxruntime-gpu is installed there."
        yield Finding("its onnxruntime", "warning" if runtime else "missing", detail, way_out)
    else:
        yield _package(found, runtime or "onnxruntime")
    yield _package(found, "numpy")
    if "apache-tvm" in found.runtimes:
        yield _package(found, "apache-tvm")


def _package(found: Description, name: str) -> Finding:
    if name in found.runtimes:
        return Finding(f"its {name}", "ok", found.runtimes[name])
    way_out = f"There: python3 -m venv venv && venv/bin/pip install {name}, then ?python=… at the end of the URL."
    return Finding(f"its {name}", "missing", "not installed", way_out)


def _folder(device: Device) -> Finding:
    """A working folder is made, looked at, and removed again."""
    with device.folder() as path:
        if find_address(device.url).kind in ("local", "qemu"):  # emulated programs work on this machine's files
            free = shutil.disk_usage(path).free
        else:
            free = _free(device.run(["df", "-Pk", path], timeout=_SHORT).stdout)
    detail = f"{path.rpartition('/')[0]}, {free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        return Finding("working folder", "warning", detail, "Make room there, or set TMPDIR for that user.")
    return Finding("working folder", "ok", detail)


def _free(text: str) -> int:
    """Bytes, from the last line of `df -Pk`; 0 where it is none."""
    words = (text.strip().splitlines() or [""])[-1].split()
    return int(words[3]) * 1024 if len(words) >= 5 and re.fullmatch(r"[0-9]{1,16}", words[3]) else 0


def _sensors(device: Device, found: Description) -> Iterator[Finding]:
    hot = device.run(["sh", "-c", _TEMPERATURE], timeout=_SHORT)
    degrees = hot.stdout.strip()
    if hot.status == 0 and re.fullmatch(r"-?[0-9]{1,7}", degrees):
        yield Finding("temperature", "ok", f"{int(degrees) / 1000:.0f} °C")
    else:
        way_out = "Without it a hot board's latencies are not recognized as such."
        yield Finding("temperature", "warning", "no thermal zone can be read", way_out)
    for board, (name, script, way_out) in _SENSORS.items():
        if board in found.cpu.lower():
            done = device.run(["sh", "-c", script], timeout=_SHORT)
            ok = done.status == 0
            detail = f"readable: {done.stdout.strip()}" if ok else "its sensors cannot be read"
            yield Finding(name, "ok" if ok else "warning", detail, "" if ok else way_out)
