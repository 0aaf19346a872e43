"""Watts of this machine's cores: from the packages' limit where it is told, else an estimate that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.targets.machine import Machine
from compressor.targets.power import core_power, host_power

PC = Machine(
    arch="x86_64", cpu="PC", vendor="GenuineIntel", part="", features=frozenset(), cores=4, threads=8,
    threads_source="test", clock=2e9, clock_source="test", memory=8 << 30, memory_source="test",
)  # fmt: skip


def powercap(root: Path, *limits: str) -> Path:
    """Packages with these limits in µW, and as many packages of two cores, two threads each."""
    for package, limit in enumerate(limits):
        folder = root / f"sys/class/powercap/intel-rapl:{package}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"package-{package}\n")
        (folder / "constraint_0_power_limit_uw").write_text(f"{limit}\n")
    blocks = [
        f"processor\t: {i}\nphysical id\t: {i % len(limits)}\ncore id\t\t: {i // len(limits) % 2}\n"
        for i in range(4 * len(limits))
    ]
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("\n".join(blocks))
    return root


def test_the_packages_limit_is_shared_among_all_cores(tmp_path: Path) -> None:
    root = powercap(tmp_path, "20000000", "30000000")
    assert core_power(PC, root).value == pytest.approx(50 / 4)
    assert "estimate: RAPL's long-term limit of the packages, 50 W, for 4 cores" in core_power(PC, root).source
    assert host_power(PC, 2, root).value == pytest.approx(25)


@pytest.mark.parametrize("limit", ["0", "-1", "many", ""])
def test_a_limit_that_says_nothing_is_not_used(tmp_path: Path, limit: str) -> None:
    assert core_power(PC, powercap(tmp_path, "20000000", limit)).value == 12.0


@pytest.mark.parametrize(("arch", "watts"), [("x86_64", 12.0), ("aarch64", 3.0)])
def test_an_unknown_processor_is_estimated_by_its_cores(tmp_path: Path, arch: str, watts: float) -> None:
    here = Machine(**{**vars(PC), "arch": arch})
    assert core_power(here, tmp_path).value == watts
    assert core_power(here, tmp_path).source.startswith("estimate: ")
    assert host_power(here, 3, tmp_path).value == 3 * watts
    assert host_power(here, 8, tmp_path).value == 4 * watts  # hyper-threads share a core


def test_this_machine_has_some() -> None:
    assert core_power().value > 0
