"""The emulated cores, and the /proc/cpuinfo that each would show.

ONNX Runtime picks its kernels by /proc/cpuinfo and the auxiliary vector. The two have to agree: told of instructions
that the core lacks, it dies of an illegal one. Implementer, part and features are those of Arm's technical reference
manuals; features are spelled as Linux does (arch/arm64/kernel/cpuinfo.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CPU", "CPUS", "cpuinfo"]

_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0[:-6]} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class CPU:
    """A core: its title, Main ID Register part, variant and revision, and instruction set extensions."""

    title: str
    part: int
    variant: int
    revision: int
    features: str


CPUS: Mapping[str, CPU] = {
    "cortex-a53": CPU("Cortex-A53", 0xD03, 0, 4, _V8_0),
    "cortex-a57": CPU("Cortex-A57", 0xD07, 1, 0, _V8_0),
    "cortex-a72": CPU("Cortex-A72", 0xD08, 0, 3, _V8_0),
    "cortex-a76": CPU("Cortex-A76", 0xD0B, 4, 1, _V8_2),
    "neoverse-n1": CPU("Neoverse-N1", 0xD0C, 4, 1, f"{_V8_2} ssbs"),
}


def cpuinfo(cpu: CPU, cores: int) -> str:
    """/proc/cpuinfo of a machine with that many of them."""
    block = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x{cpu.variant:x}\nCPU part\t: 0x{cpu.part:03x}\nCPU revision\t: {cpu.revision}\n\n"
    )
    return "".join(f"processor\t: {core}\n{block}" for core in range(cores))
