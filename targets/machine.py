"""What the operating system tells of the machine: processor, instruction set, clock, cores, memory.

Limits of the process count: its CPU affinity and its control group, so that a container sees its own share. Linux is
read from /proc and /sys; macOS from sysctl; elsewhere the standard library's answers stand, and say so.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "exact_name", "this_machine"]

_ARCH = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "armv8l": "aarch64"}
_UNKNOWN_CLOCK, _UNKNOWN_MEMORY = 2.0e9, 4 << 30


@dataclass(frozen=True)
class Machine:
    """`clock` in hertz, `memory` in bytes; `cores` are physical ones among those that this process may use."""

    arch: str
    cpu: str
    vendor: str
    part: str  # Arm's part number ("0xd08" is a Cortex-A72), "" elsewhere
    features: frozenset[str]  # as Linux names them
    cores: int
    threads: int
    threads_source: str
    clock: float
    clock_source: str
    memory: int
    memory_source: str


def this_machine(root: Path = Path("/")) -> Machine:
    """This machine. `root` is where /proc and /sys are looked for."""
    arch = platform.machine().lower()
    arch = _ARCH.get(arch, arch)
    if platform.system() == "Darwin":
        return _darwin(arch)
    info = _cpuinfo(root)
    first = next(iter(info.values()), {})
    allowed = _allowed_cpus()
    threads, threads_source = _threads(root, len(allowed))
    cores = len({_core(info.get(cpu, {}), cpu) for cpu in allowed})
    clock, clock_source = _clock(root, first)
    memory, memory_source = _memory(root)
    return Machine(
        arch=arch,
        cpu=exact_name(
            first.get("model name") or platform.processor() or arch, first.get("cpu family", ""), first.get("model", "")
        ),
        vendor=first.get("vendor_id", ""),
        part=first.get("CPU part", ""),
        features=frozenset((first.get("flags") or first.get("Features") or "").split()) or _assumed(arch),
        cores=max(1, min(cores, threads)),
        threads=threads,
        threads_source=threads_source,
        clock=clock,
        clock_source=clock_source,
        memory=memory,
        memory_source=memory_source,
    )


def exact_name(name: str, family: str, model: str) -> str:
    """A processor's name; with CPUID's family and model where a hypervisor left only the brand ("AMD EPYC").

    Two generations with one name are told apart.
    """
    bare = name and family and not any(letter.isdigit() for letter in name)
    return f"{name}, family {family} model {model}" if bare else name


def _cpuinfo(root: Path) -> dict[int, dict[str, str]]:
    """/proc/cpuinfo: processor number → its fields."""
    found: dict[int, dict[str, str]] = {}
    for block in _text(root / "proc/cpuinfo").split("\n\n"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if fields.get("processor", "").isdigit():
            found[int(fields["processor"])] = fields
    return found


def _assumed(arch: str) -> frozenset[str]:
    """Where nothing lists the instruction set (Windows): what every processor of the last ten years has."""
    return frozenset({"x86_64": ("avx", "avx2", "fma"), "aarch64": ("asimd", "asimddp")}.get(arch, ()))


def _allowed_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _core(fields: dict[str, str], cpu: int) -> tuple[str, str]:
    """Hyper-threads of one core share its vector units, and share this pair."""
    return (fields["physical id"], fields["core id"]) if {"physical id", "core id"} <= set(fields) else ("", str(cpu))


def _threads(root: Path, allowed: int) -> tuple[int, str]:
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        share = max(1, math.ceil(int(quota) / int(period)))
        if share < allowed:
            return share, f"the control group allows {share} of {allowed} processors"
    return allowed, "processors that this process may use"


def _clock(root: Path, fields: dict[str, str]) -> tuple[float, str]:
    """Hertz, from what does not change while the machine works: a cache key must not."""
    limit = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    if limit.isdigit() and int(limit):
        return int(limit) * 1e3, "cpuinfo_max_freq"
    if named := re.search(r"@ *([\d.]+) *GHz", fields.get("model name", "")):
        return float(named[1]) * 1e9, "the processor's name"
    if "tsc" in fields.get("flags", "").split():
        with contextlib.suppress(KeyError, ValueError):
            return round(float(fields["bogomips"]) / 2, -2) * 1e6, "its time stamp counter"
    return _UNKNOWN_CLOCK, "assumed: the system does not tell"


def _memory(root: Path) -> tuple[int, str]:
    total = re.search(r"MemTotal: *(\d+) kB", _text(root / "proc/meminfo"))
    size, source = (int(total[1]) * 1024, "/proc/meminfo") if total else _sysconf_memory()
    limit = _text(root / "sys/fs/cgroup/memory.max").strip()
    if limit.isdigit() and 0 < int(limit) < size:
        return int(limit), "the control group's limit"
    return size, source


def _sysconf_memory() -> tuple[int, str]:
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "sysconf"
    return _UNKNOWN_MEMORY, "assumed: the system does not tell"


def _darwin(arch: str) -> Machine:
    """macOS: Apple's own chips do not tell their clock, so a typical one stands in for it."""
    intel = arch == "x86_64"
    cores = _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or str(os.cpu_count() or 1)
    hertz = _sysctl("hw.cpufrequency_max")
    memory = _sysctl("hw.memsize")
    names = f"{_sysctl('machdep.cpu.features')} {_sysctl('machdep.cpu.leaf7_features')}".lower()
    apple = {"asimd", "asimddp"} | ({"i8mm"} if _sysctl("hw.optional.arm.FEAT_I8MM") == "1" else set())
    return Machine(
        arch=arch,
        cpu=_sysctl("machdep.cpu.brand_string") or arch,
        vendor=_sysctl("machdep.cpu.vendor") or ("" if intel else "Apple"),
        part="",
        features=frozenset(names.replace("avx1.0", "avx").split() if intel else apple),
        cores=int(cores),
        threads=int(cores),
        threads_source="performance cores",
        clock=float(hertz) if hertz else 3.2e9,
        clock_source="hw.cpufrequency_max" if hertz else "assumed: macOS does not tell",
        memory=int(memory) if memory else _UNKNOWN_MEMORY,
        memory_source="hw.memsize" if memory else "assumed: the system does not tell",
    )


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(path: Path) -> str:
    """A file's text, or "" where there is none to read: every caller has another source."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
