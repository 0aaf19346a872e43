"""What the processor of this machine draws while it computes, in watts: declared or estimated, never measured.

    P = Σ packages' long-term limit · cores used / all cores        where Linux's powercap tells it (RAPL)
    P = cores used · watts a core                                   else

A limit is what all cores together may draw for long, so both are estimates, and say so.
"""

from __future__ import annotations

import re
from pathlib import Path

from compressor.targets.machine import Machine, this_machine
from compressor.targets.target import Figure

__all__ = ["core_power", "host_power"]

_X86 = 12.0, "estimate: what Green Algorithms (Lannelongue et al., 2021) takes for a core of an unknown processor"
_OTHER = 3.0, "estimate: between servers' Arm cores (about 2 W) and a notebook's performance cores (about 5 W)"


def core_power(here: Machine | None = None, root: Path = Path("/")) -> Figure:
    """Watts of one busy core, with what is shared among them. `root` is where /proc and /sys are looked for."""
    here = here or this_machine(root)
    limits, cores = _limits(root), _all_cores(root)
    if limits and cores:
        watts = sum(limits)
        source = f"estimate: RAPL's long-term limit of the packages, {watts:g} W, for {cores} cores"
        return Figure(watts / cores, source)
    return Figure(*(_X86 if here.arch == "x86_64" else _OTHER))


def host_power(here: Machine, threads: int, root: Path = Path("/")) -> Figure:
    """Watts while `threads` threads compute; hyper-threads share a core."""
    core, cores = core_power(here, root), min(threads, here.cores)
    return Figure(core.value * cores, f"{core.source}; {cores} busy")


def _limits(root: Path) -> list[float]:
    """Watts of every package that tells its limit."""
    found = []
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:[0-9]*")):
        if _text(folder / "name").startswith("package-"):
            limit = _text(folder / "constraint_0_power_limit_uw")
            if not limit.isdigit() or not int(limit):
                return []
            found.append(int(limit) / 1e6)
    return found


def _all_cores(root: Path) -> int:
    """Physical cores of the whole machine, those that this process may not use included; 0 where they are not told."""
    text = _text(root / "proc/cpuinfo")
    packages, cores = (re.findall(rf"^{key}\s*: *(\d+)$", text, re.M) for key in ("physical id", "core id"))
    return len(set(zip(packages, cores, strict=False)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
