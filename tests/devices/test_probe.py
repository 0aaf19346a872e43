"""What a device tells of itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from compressor.devices.device import Description
from compressor.devices.probe import PROBE, cpu_name, description
from compressor.errors import DeviceError

PI = """
system=Linux
arch=aarch64
cores=4
memory_kb=8245760
implementer=0x41
part=0xd0b
implementer=0x41
part=0xd0b
board=Raspberry Pi 5 Model B Rev 1.0
python=3.11.2
runtimes={"onnxruntime": "1.31.1", "numpy": "2.4.6"}
"""


def test_a_raspberry_pi_is_known_by_its_parts() -> None:
    assert description(PI, "ssh://pi@board") == Description(
        "Linux", "aarch64", "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)", 4, 8245760 * 1024, "3.11.2",
        {"onnxruntime": "1.31.1", "numpy": "2.4.6"},
    )  # fmt: skip


def test_an_android_without_python_is_known() -> None:
    text = "system=Linux\narch=aarch64\nandroid=14\ncores=8\nimplementer=0x41\npart=0xd46\npart=0xd4d\npart=0xfff\n"
    found = description(text, "")
    assert (found.system, found.python, found.memory, found.runtimes) == ("Android", "", 0, {})
    assert found.cpu == "Arm part 0xfff + Cortex-A715 + Cortex-A510"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"model": ["Xeon", "Xeon"]}, "Xeon"), ({"model": ["i7-6"], "family": ["6"], "number": ["94"]}, "i7-6"),
        ({"model": ["AMD EPYC"] * 2, "family": ["26"] * 2, "number": ["2"] * 2}, "AMD EPYC, family 26 model 2"),
        ({"board": ["Jetson"]}, "Jetson"), ({}, ""),
        ({"implementer": ["0x51"], "part": ["0xd0b"]}, ""),  # another maker's numbers mean something else
    ],
)  # fmt: skip
def test_a_cpu_is_named(values: dict[str, list[str]], name: str) -> None:
    assert cpu_name(values) == name


def test_an_emulated_device_is_never_timed() -> None:
    assert description(PI, "").timed
    assert not description(PI, "", timed=False).timed


@pytest.mark.parametrize("text", ["", "Welcome!\n", "system=Linux\narch=\ncores=4"])
def test_what_is_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(DeviceError, match="does not say what it is"):
        description(text, "ssh://board")


@pytest.mark.parametrize("spoiled", [
    "runtimes={", "runtimes=[]", "runtimes=" + "[" * 100_000, 'runtimes={"numpy": [1]}', "memory_kb=much",
    "memory_kb=" + "9" * 5000, "memory_kb=²", "cores=-", "cores=" + "9" * 5000, "cores=9999999999",
])  # fmt: skip
def test_a_spoiled_line_spoils_no_other(spoiled: str) -> None:
    found = description(f"{PI}{spoiled}\n", "")
    assert found.python == "3.11.2"
    assert 1 <= found.cores <= 4096
    assert found.memory in (0, 8245760 * 1024)


def test_what_it_says_is_safe_to_show() -> None:
    spoiled = PI.replace("Model B", "\x1b[2J\x1b]0;title\x07\x7f").replace("2.4.6", "\\u001b[31m")
    found = description(spoiled, "")
    assert found.cpu == "Raspberry Pi 5 ?[2J?]0;title?? Rev 1.0 (Cortex-A76)"
    assert found.runtimes["numpy"] == "?[31m"


def test_the_script_answers_here_with_and_without_python() -> None:
    for python, version in (([sys.executable], sys.version.split()[0]), (["no-such-python"], "")):
        done = subprocess.run(["sh", "-c", PROBE, "probe", *python], capture_output=True, text=True, check=True)
        assert description(done.stdout, "").python == version


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_what_openmp_is_limited_to_is_not_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "37")
    done = subprocess.run(["sh", "-c", PROBE, "probe", "true"], capture_output=True, text=True, check=True)
    assert description(done.stdout, "").cores == len(os.sched_getaffinity(0))


def test_caches_are_those_of_data_in_bytes_from_the_nearest_on() -> None:
    text = "system=Linux\narch=x86_64\ncores=2\ncache=1 48K\ncache=3 32M\ncache=2 1024K\ncache=2 lots\n"
    assert description(text, "").caches == (48 * 1024, 1024**2, 32 * 1024**2)
    assert description(PI, "").caches == ()
