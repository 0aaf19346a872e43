"""What each layer can be stored in: formats by target, bytes as stored."""

from __future__ import annotations

from dataclasses import replace

from boards import board
from narrow_nets import linear_net, net_batches

from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.candidates import Candidates, find_candidates, stored_bytes
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.codes.rounding import NEAREST
from compressor.targets.target import Provider, Target

LIMITS = Limits(static=True, calibrator="minmax", percentile=99.99, samples=64, max_error=0.04)


def found(target: Target, *, data: bool = False) -> Candidates:
    program, _ = functional_copy(linear_net())
    return find_candidates(
        program,
        Context(target, calibration=net_batches() if data else ()),
        LIMITS,
        (64,),
        lambda _: NEAREST,
    )


def formats(candidates: Candidates, name: str) -> list[str]:
    return [str(option.setting["format"]) for option in candidates.options[name]]


def test_a_processor_has_blocks_where_the_layer_fits() -> None:
    candidates = found(board())
    assert formats(candidates, "up")[:2] == ["fp32", "int8"]
    assert {"int4", "int2", "ternary"} < set(formats(candidates, "up"))
    assert [layer.name for [layer] in candidates.narrow()] == ["first", "second", "up", "down", "head"]


def test_an_accelerator_has_half_and_no_blocks() -> None:
    fast = replace(
        board(), providers=(Provider("TensorrtExecutionProvider", ("fp16", "int8"), ("*",), "int8", "test"),)
    )
    candidates = found(fast)
    assert formats(candidates, "up") == ["fp32", "fp16", "int8"]
    assert candidates.narrow() == []


def test_int8_is_static_where_it_is_calibrated() -> None:
    assert "low" in found(board(), data=True).options["second"][1].setting
    assert found(board()).options["second"][1].setting == {"format": "int8", "weights": "int8"}


def test_bytes_are_what_the_pass_stores() -> None:
    candidates = found(board())
    program, _ = functional_copy(linear_net())
    for option in candidates.options["up"][1:]:
        after = Quantize(sites={"up": option.setting}).run(linear_net(), Context(board())).program
        stored = {name: t for name, t in after.tensors().items() if name.startswith("up.weight") and "zero" not in name}
        assert sum(t.numel() * t.element_size() for t in stored.values()) == option.bytes
    layer = next(layer for layer in candidates.layers if layer.name == "up")
    assert stored_bytes(program, layer, {"format": "fp32"}) == 4 * 256 * 128


def test_every_block_size_that_fits_is_a_candidate() -> None:
    program, _ = functional_copy(linear_net())
    candidates = find_candidates(
        program,
        Context(board()),
        LIMITS,
        (32, 64, 128),
        lambda _: NEAREST,
    ).only(lambda each: each.format != "ternary")
    fours = [each for options in candidates.options.values() for each in options if each.setting["format"] == "int4"]
    assert [each.setting["block"] for each in fours if each.layer == "first"] == [32, 64], "it has 64 inputs"
    assert [each.setting["block"] for each in fours if each.layer == "up"] == [32, 64, 128]
    assert "ternary" not in formats(candidates, "up")
