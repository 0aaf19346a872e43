"""The board that options are weighed on."""

from __future__ import annotations

from dataclasses import replace

from boards import board

from compressor.passes.quantize import Quantize
from compressor.plan.common import common
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime

CPUS = ("host", "raspberry-pi-4", "raspberry-pi-5", "android-arm64", "web-wasm", "x86-64")


def test_boards_that_run_integers_are_one() -> None:
    found = [common(load_target(name)) for name in CPUS]
    assert len({Quantize.reads(target) for target in found}) == 1
    assert {target.width_multiple for target in found} == {8}


def test_what_a_board_wants_more_of_stays() -> None:
    jetson = common(load_target("jetson-orin-nano"))
    assert jetson.width_multiple == load_target("jetson-orin-nano").width_multiple == 16
    assert jetson.sparsity == load_target("jetson-orin-nano").sparsity


def test_a_board_without_integers_has_none() -> None:
    [provider] = board().providers
    floats = board(providers=(replace(provider, activations="", formats=("fp32",)),))
    assert common(floats).activations == ""
    assert not common(floats).saturates


def test_tvm_stays_tvm() -> None:
    assert common(with_runtime(load_target("raspberry-pi-5"), "tvm")).runtime.name == "tvm"
