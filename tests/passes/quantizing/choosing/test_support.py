"""Which targets have products with weights in blocks, and where they are slow, on the boards that are described."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board

from compressor.passes.quantizing.choosing.support import block_setting, refusal, slow_note
from compressor.targets import Figure, Provider, Runtime, load_target


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("jetson-orin-nano", "TensorrtExecutionProvider"),
        ("jetson-xavier-nx", "TensorrtExecutionProvider"),
        ("iphone", "CoreMLExecutionProvider"),
    ],
)
@pytest.mark.parametrize("format", ["int4", "int2"])
def test_boards_whose_preferred_provider_is_no_cpu(name: str, provider: str, format: str) -> None:
    target = load_target(name)
    for kind, operator, what in (("linear", "MatMulNBits", "product"), ("embedding", "GatherBlockQuantized", "table")):
        expected = f"{provider} has no {operator}, so every {format} {what} would leave it for the CPU"
        assert refusal(target, format, kind) == expected


@pytest.mark.parametrize("name", ["x86-64", "raspberry-pi-4", "raspberry-pi-5", "android-arm64", "web-wasm", "host"])
@pytest.mark.parametrize("format", ["int4", "int2"])
def test_boards_that_run_them(name: str, format: str) -> None:
    assert refusal(load_target(name), format) == ""


def test_an_older_runtime_and_a_shorter_list_of_operators() -> None:
    old = board(runtime=Runtime("onnxruntime", "1.22.1", 21, "test"))
    assert refusal(old, "int4") == ""
    assert refusal(old, "int2").startswith("onnxruntime 1.22.1 has no int2 product; 1.24 is the first")
    assert refusal(old, "int4", "embedding") == "onnxruntime 1.22.1 has no int4 table; 1.23 is the first"
    newer = replace(old, runtime=replace(old.runtime, version="1.26.0"))
    assert [refusal(newer, format) for format in ("int4", "int2", "ternary")] == ["", "", ""]
    assert refusal(newer, "int4", "embedding") == ""
    assert refusal(newer, "int2", "embedding") == "onnxruntime 1.26.0 has no int2 table; 1.27 is the first"
    assert "has no int4 product; 1.19" in refusal(replace(old, runtime=replace(old.runtime, version="1.18")), "int4")
    listed = board(providers=(Provider("CPUExecutionProvider", ("fp32",), ("MatMul",), "", "test"),))
    assert refusal(listed, "int4") == "CPUExecutionProvider of board does not list MatMulNBits"
    named = board(providers=(Provider("CPUExecutionProvider", ("fp32",), ("MatMulNBits",), "", "test"),))
    assert refusal(named, "int4") == "", "named in its list"
    assert refusal(named, "int4", "embedding") == "CPUExecutionProvider of board does not list GatherBlockQuantized"


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("x86-64", []),
        ("raspberry-pi-5", ["int2"]),
        ("android-arm64", ["int2"]),
        ("raspberry-pi-4", ["int4", "int2"]),
        ("web-wasm", ["int4", "int2"]),
    ],
)
def test_where_they_buy_size_alone(name: str, slow: list[str]) -> None:
    target = load_target(name)
    assert [format for format in ("int4", "int2") if slow_note(target, format)] == slow
    for format in slow:
        assert f"on {name}: they buy size alone" in slow_note(target, format)


def test_activations_are_integer_where_integers_are_faster() -> None:
    assert block_setting(board(), "int4", 64) == {"format": "int4", "block": 64, "activation": "int8"}
    even = board(rates={"fp32": Figure(1e9, "test"), "int8": Figure(1e9, "test")})
    assert block_setting(even, "int2", 128) == {"format": "int2", "block": 128}
    assert block_setting(board(), "int4", 64, "embedding") == {"format": "int4", "block": 64}, "nothing is multiplied"


@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_kernels_of_our_own_are_of_any_version(kind: str) -> None:
    provider = Provider("TVM-CPU", ("fp32", "int8"), ("MatMulNBits", "GatherBlockQuantized"), "int8", "test")
    target = board(runtime=Runtime("tvm", "0.27", 0, "test"), providers=(provider,))
    assert not refusal(target, "ternary", kind)
    older = replace(target, runtime=replace(target.runtime, name="onnxruntime"))
    assert "is the first" in refusal(older, "ternary", kind)


def test_kernels_of_our_own_multiply_integers_on_arm_without_dot_products_too() -> None:
    provider = Provider("TVM-CPU", ("fp32", "int8"), ("MatMulNBits", "GatherBlockQuantized"), "int8", "test")
    even = {"fp32": Figure(1e9, "test"), "int8": Figure(1e9, "test")}
    target = board(runtime=Runtime("tvm", "0.27", 0, "test"), providers=(provider,), rates=even, arch="aarch64")
    assert block_setting(target, "ternary", 128)["activation"] == "int8"
    assert slow_note(target, "ternary") == ""
    floats = replace(target, providers=(replace(provider, formats=("fp32",), activations=""),))
    assert "activation" not in block_setting(floats, "ternary", 128)
