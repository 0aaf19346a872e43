"""What a device tells of itself: a small POSIX script that prints `key=value` lines, and their meaning.

The script asks `uname`, /proc, the device tree, Android's properties and, given how Python is started there, that.
GNU's `nproc` would tell what OpenMP was limited to instead of the cores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from compressor.devices.device import Description
from compressor.errors import DeviceError
from compressor.targets.machine import exact_name

__all__ = ["PROBE", "PYTHON_PROBE", "cpu_name", "description"]

_MOST_CORES = 4096  # threads are started for each

PYTHON_PROBE = """
import json, platform
from importlib import metadata
found = {}
for name in ("onnxruntime", "onnxruntime-gpu", "numpy", "apache-tvm", "torch"):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        continue
print("python=" + platform.python_version())
print("runtimes=" + json.dumps(found))
""".strip()

# `probe python3`: the words after the script's name start Python
PROBE = f"""
echo "system=$(uname -s)"; echo "arch=$(uname -m)"
release=$(getprop ro.build.version.release 2>/dev/null) && [ -n "$release" ] && echo "android=$release"
unset OMP_NUM_THREADS OMP_THREAD_LIMIT
echo "cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)"
[ -r /proc/meminfo ] && sed -n 's/^MemTotal: *\\([0-9]*\\) kB.*/memory_kb=\\1/p' /proc/meminfo
[ -r /proc/meminfo ] || echo "memory=$(sysctl -n hw.memsize 2>/dev/null)"
[ -r /proc/cpuinfo ] && sed -n \\
    -e 's/^model name[^:]*: *\\(.*\\)/model=\\1/p' -e 's/^cpu family[^:]*: */family=/p' \\
    -e 's/^model[^:a-z]*: */number=/p' -e 's/^CPU implementer[^:]*: */implementer=/p' \\
    -e 's/^CPU part[^:]*: */part=/p' /proc/cpuinfo
[ -r /proc/cpuinfo ] || echo "model=$(sysctl -n machdep.cpu.brand_string 2>/dev/null)"
for cache in /sys/devices/system/cpu/cpu0/cache/index*; do
  [ -r "$cache/size" ] || continue
  [ "$(cat "$cache/type")" = Instruction ] || echo "cache=$(cat "$cache/level") $(cat "$cache/size")"
done
[ -r /proc/device-tree/model ] && echo "board=$(tr -d '\\000' </proc/device-tree/model)"
"$@" -c '{PYTHON_PROBE.replace("'", '"')}' 2>/dev/null
exit 0
""".strip()

# /proc/cpuinfo's "CPU part" of implementer 0x41, Arm: the Main ID Register's part numbers of Arm's own manuals
_ARM_PARTS: Mapping[str, str] = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3", "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
}  # fmt: skip


def description(text: str, where: str, *, timed: bool = True) -> Description:
    """A device from what the script printed. Raises DeviceError where that is not an answer."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and value.strip():
            values.setdefault(key, []).append(_shown(value.strip()))
    if not {"system", "arch", "cores"} <= values.keys():
        way_out = "It has to have a POSIX shell with uname; see that the login prints nothing of its own."
        raise DeviceError("it does not say what it is", where=where, way_out=way_out)

    def last(key: str, default: str = "") -> str:
        return values.get(key, [default])[-1]

    memory = _number(last("memory_kb")) * 1024 or _number(last("memory"))
    return Description(
        system="Android" if "android" in values else last("system"), arch=last("arch"), cpu=cpu_name(values),
        cores=min(max(1, _number(last("cores"))), _MOST_CORES), memory=memory, python=last("python"),
        runtimes=_runtimes(last("runtimes")), timed=timed, caches=_caches(values.get("cache", ())),
    )  # fmt: skip


def cpu_name(values: Mapping[str, list[str]]) -> str:
    """The kinds of core, largest number first as Arm counts them, and the board; "" where nothing tells."""
    family, number = (values.get(key, [""])[-1] for key in ("family", "number"))
    names = sorted({exact_name(name, family, number) for name in values.get("model", ())})
    if not names and "0x41" in values.get("implementer", ()):
        parts = sorted(set(values.get("part", ())), reverse=True)
        names = [_ARM_PARTS.get(part, f"Arm part {part}") for part in parts]
    cores = " + ".join(names)
    board = values.get("board", [""])[-1]
    return f"{board} ({cores})" if board and cores else board or cores


def _caches(lines: Sequence[str]) -> tuple[int, ...]:
    """Bytes of each level, from lines like "2 1024K"."""
    found: dict[int, int] = {}
    for line in lines:
        if told := re.fullmatch(r"([1-9]) ([0-9]{1,9})([KM]?)", line):
            found[int(told[1])] = int(told[2]) * {"": 1, "K": 1024, "M": 1024**2}[told[3]]
    return tuple(found[level] for level in sorted(found))


def _shown(text: str) -> str:
    """Without control characters: it is shown on terminals and kept in files."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _number(text: str) -> int:
    """0 for what is none, or more than any board has of anything."""
    return int(text) if re.fullmatch(r"[0-9]{1,16}", text) else 0


def _runtimes(text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {_shown(name): _shown(version) for name, version in found.items() if isinstance(version, str)}
