from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from compressor.targets import machine
from compressor.targets.machine import exact_name, this_machine

PI_4 = """processor : {0}
BogoMIPS  : 108.00
Features  : fp asimd evtstrm crc32 cpuid
CPU part  : 0xd08
"""
X86 = """processor   : {0}
vendor_id   : GenuineIntel
model name  : Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz
flags       : fpu tsc sse2 avx avx2 fma
bogomips    : 3600.00
physical id : 0
core id     : {1}
"""


def _system(root: Path, cpuinfo: str, files: dict[str, str] | None = None) -> Path:
    """A tree with /proc and /sys of another machine."""
    for name, text in {"proc/cpuinfo": cpuinfo, "proc/meminfo": "MemTotal:  4000000 kB\n", **(files or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def _on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)


@pytest.mark.usefixtures("four_cpus")
def test_a_raspberry_pi_is_read_off_proc_and_sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "aarch64")
    clock = {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n"}
    found = this_machine(_system(tmp_path, "\n".join(PI_4.format(i) for i in range(4)), clock))
    assert (found.arch, found.part, found.cores, found.threads) == ("aarch64", "0xd08", 4, 4)
    assert found.features == {"fp", "asimd", "evtstrm", "crc32", "cpuid"}
    assert (found.clock, found.clock_source) == (1.8e9, "cpuinfo_max_freq")
    assert (found.memory, found.memory_source) == (4000000 * 1024, "/proc/meminfo")


@pytest.mark.usefixtures("four_cpus")
def test_hyper_threads_share_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "AMD64")
    found = this_machine(_system(tmp_path, "\n".join(X86.format(i, i // 2) for i in range(4))))
    assert (found.arch, found.cores, found.threads) == ("x86_64", 2, 4)
    assert (found.clock, found.clock_source) == (1.6e9, "the processor's name")
    assert found.vendor == "GenuineIntel"


@pytest.mark.usefixtures("four_cpus")
def test_without_a_named_clock_the_time_stamp_counter_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "x86_64")
    found = this_machine(_system(tmp_path, X86.replace(" @ 1.60GHz", "").format(0, 0)))
    assert (found.clock, found.clock_source) == (1.8e9, "its time stamp counter")


@pytest.mark.usefixtures("four_cpus")
def test_what_openmp_is_limited_to_is_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "aarch64")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert this_machine(_system(tmp_path, "\n".join(PI_4.format(i) for i in range(4)))).threads == 4


@pytest.mark.usefixtures("four_cpus")
def test_the_control_groups_share_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "aarch64")
    limits = {"sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "1000000000\n"}
    found = this_machine(_system(tmp_path, "\n".join(PI_4.format(i) for i in range(4)), limits))
    assert (found.threads, found.cores) == (2, 2)
    assert "2 of 4" in found.threads_source
    assert (found.memory, found.memory_source) == (10**9, "the control group's limit")


@pytest.mark.usefixtures("four_cpus")
def test_no_limit_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "aarch64")
    limits = {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}
    found = this_machine(_system(tmp_path, PI_4.format(0), limits))
    assert (found.threads, found.memory) == (4, 4000000 * 1024)


@pytest.mark.usefixtures("four_cpus")
def test_a_system_that_tells_nothing_gets_assumptions_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on(monkeypatch, "x86_64")
    monkeypatch.setattr(os, "sysconf", _no_sysconf, raising=False)
    found = this_machine(tmp_path)
    assert found.features >= {"avx2", "fma"}
    assert found.clock > 0
    assert "assumed" in found.clock_source
    assert found.memory > 0
    assert "assumed" in found.memory_source


def _no_sysconf(name: str) -> int:
    raise ValueError(name)


def test_apples_chips_are_asked_by_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "hw.perflevel0.physicalcpu": "4", "hw.memsize": "17179869184", "hw.optional.arm.FEAT_I8MM": "1",
        "machdep.cpu.brand_string": "Apple M2",
    }  # fmt: skip

    def sysctl(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        answer = answers.get(command[-1])
        return subprocess.CompletedProcess(command, 0 if answer else 1, answer or "", "")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", sysctl)
    _on(monkeypatch, "arm64")
    found = this_machine()
    assert (found.arch, found.cpu, found.vendor, found.cores) == ("aarch64", "Apple M2", "Apple", 4)
    assert found.features == {"asimd", "asimddp", "i8mm"}
    assert found.memory == 16 << 30
    assert "assumed" in found.clock_source


def test_a_mac_without_sysctl_is_still_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", nothing)
    _on(monkeypatch, "x86_64")
    found = this_machine()
    assert found.cores >= 1
    assert "assumed" in found.memory_source


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc of the machine that the test runs on")
def test_this_machine_is_described_as_it_is() -> None:
    found = this_machine()
    assert found == machine.this_machine()
    assert found.threads <= (os.cpu_count() or 1)
    assert 1 <= found.cores <= found.threads
    assert 5e8 < found.clock < 8e9
    assert found.memory > 1 << 28


@pytest.mark.parametrize(
    ("name", "family", "model", "exact"),
    [
        ("AMD EPYC", "26", "2", "AMD EPYC, family 26 model 2"), ("Intel(R) Core(TM) i5-8250U", "6", "142",
        "Intel(R) Core(TM) i5-8250U"), ("Apple", "", "", "Apple"),
    ],
)  # fmt: skip
def test_a_name_without_a_number_is_told_apart_by_family_and_model(
    name: str, family: str, model: str, exact: str
) -> None:
    assert exact_name(name, family, model) == exact
