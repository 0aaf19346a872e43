"""What a program does, as data: priced for any board as the program would be."""

from __future__ import annotations

import json

import pytest
from boards import board
from quantized import with_int8
from recovery import digits_program

from compressor.devices.latency.lookup import bases, latency_model
from compressor.graph.concrete import concrete_values
from compressor.graph.cost import LatencyModel, Roofline, fusion_of
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.outline import FUSIONS, Outline, Work, outline
from compressor.graph.program import Program
from compressor.targets import load_target


@pytest.fixture(scope="module", params=["fp32", "int8"])
def program(request: pytest.FixtureRequest) -> Program:
    whole = digits_program()
    return whole if request.param == "fp32" else with_int8(whole, "conv2d", "linear")


def kept(program: Program) -> Outline:
    """Without the program that it was drawn from."""
    drawn = outline(program, concrete_values(program, 1))
    return Outline({fusion: drawn.kernels(fusion) for fusion in FUSIONS}, drawn.calls)


@pytest.mark.parametrize("name", ["host", "raspberry-pi-4", "jetson-orin-nano", "web-wasm"])
def test_an_outline_is_priced_as_its_program(program: Program, name: str) -> None:
    target, drawn = load_target(name), kept(program)
    models: list[LatencyModel] = [Roofline(), latency_model(target)]
    for model in models:
        assert model.price(drawn, target) == model.predict(program, target)


def test_a_learned_model_prices_it_too(program: Program) -> None:
    target = load_target("host")
    learned = [model for name, model in bases(target).items() if name != "roofline"]
    assert learned
    assert learned[0].price(kept(program), target) == learned[0].predict(program, target)


def test_how_a_runtime_fuses() -> None:
    assert fusion_of(board("TensorrtExecutionProvider")) == "tensorrt"
    assert fusion_of(board("CPUExecutionProvider")) == "onnxruntime"
    assert fusion_of(board("tvm")) == "tvm"


def test_a_kernel_there_and_back(program: Program) -> None:
    copy = begin(program)
    name = next(name for name, tensor in copy.tensors().items() if tensor.dim() == 4 and tensor.shape[1] % 4 == 0)
    weight = copy.get(name).detach().clone()
    weight[:, ::2] = 0
    set_tensor(copy, name, weight)
    sparse = finish(copy)
    works = outline(sparse, concrete_values(sparse, 1)).kernels("onnxruntime").works
    assert [work.zeros.kept for work in works if work.zeros is not None] == [((2, 1), (4, 2), (8, 4), (16, 8))]
    for work in works:
        assert Work.from_json(json.loads(json.dumps(work.to_json()))) == work


def test_what_was_not_kept_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="does not hold this"):
        Outline().kernels("tvm")
