"""The emulated cores."""

from __future__ import annotations

import pytest

from compressor.devices.emulation.cpus import CPUS, cpuinfo
from compressor.devices.probe import cpu_name


@pytest.mark.parametrize("name", sorted(CPUS))
def test_each_core_shows_itself_as_it_is_called(name: str) -> None:
    text = cpuinfo(CPUS[name], 3)
    assert text.count("processor\t:") == 3
    parts = {line.split(": ")[1] for line in text.splitlines() if line.startswith("CPU part")}
    assert cpu_name({"implementer": ["0x41"], "part": [*parts]}).lower() == name


def test_only_the_newer_cores_have_dot_products() -> None:
    assert {name for name, cpu in CPUS.items() if "asimddp" in cpu.features.split()} == {"cortex-a76", "neoverse-n1"}
    assert all({"fp", "asimd", "cpuid"} <= {*cpu.features.split()} for cpu in CPUS.values())
    assert not any({"sve", "sme", "i8mm"} & {*cpu.features.split()} for cpu in CPUS.values())
