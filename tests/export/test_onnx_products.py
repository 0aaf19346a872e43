"""A bias is added inside the integer product where the runtime can, and the numbers stay what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.export.weight_bits import weight_bits
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.targets.loader import load_target


class Block(nn.Module):
    """Tokens: two products with a bias, one behind a ReLU, one without, and one whose weight is stored turned."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.plain = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 32, bias=False)
        self.turned, self.shift = nn.Parameter(torch.randn(32, 48) / 6), nn.Parameter(torch.randn(48))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(torch.relu(self.up(x)))
        return torch.tanh(self.plain(x)) @ self.turned + self.shift


def _quantized(target: str) -> tuple[Program, list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    program = capture(Block().eval(), (torch.randn(2, 5, 32),)).program
    batches = [{program.inputs[0].name: torch.randn(4, 5, 32)} for _ in range(4)]
    context = Context(load_target(target), calibration=tuple(batches))
    return Quantize("int8", max_error=1.0).run(program, context).program, batches


class Odd(nn.Module):
    """Sums that are no bias of their product, or that other processors want in another rank."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.thin = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 1, bias=False)
        self.b.bias = self.a.bias
        self.wide, self.single, self.a_bias_row = (nn.Parameter(torch.randn(size)) for size in (7, 1, 32))
        self.square = nn.Parameter(torch.randn(32, 32) / 6)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = torch.relu(self.b(torch.relu(self.a(x)).unsqueeze(1)).squeeze(1)) * torch.sigmoid(self.a_bias_row)
        y = h @ self.square
        return self.thin(h) + self.wide, torch.tanh(h) @ self.square + self.single, y, y + self.wide[:1]


def _quantized_odd(target: str) -> tuple[Program, list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    program = capture(Odd().eval(), (torch.randn(2, 5, 32),)).program
    batches = [{program.inputs[0].name: torch.randn(4, 5, 32)} for _ in range(2)]
    context = Context(load_target(target), calibration=tuple(batches))
    return Quantize("int8", max_error=1.0).run(program, context).program, batches


def _operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def _optimized(path: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _operators(path.with_name("optimized.onnx"))


def test_the_runtime_adds_every_bias_inside_its_product(tmp_path: Path) -> None:
    program, _ = _quantized("x86-64")
    to_onnx(program, load_target("x86-64")).save(path := tmp_path / "model.onnx")
    assert _operators(path).count("MatMulIntegerToFloat") == 3  # the one without a bias is paired as before
    runs = _optimized(path)
    assert runs.count("MatMulIntegerToFloat") == 4
    assert runs.count("Add") == 1  # the residual
    assert "MatMul" not in runs


def test_the_numbers_are_the_programs(tmp_path: Path) -> None:
    program, batches = _quantized("x86-64")
    to_onnx(program, load_target("x86-64")).save(path := tmp_path / "model.onnx")
    for batch in batches:
        [wanted], [found] = program.run(batch).values(), runner(path)(batch).values()
        assert (wanted - found).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("target", ["jetson-orin-nano", "iphone"])
def test_other_processors_get_operators_of_onnx_alone(tmp_path: Path, target: str) -> None:
    program, _ = _quantized(target)
    to_onnx(program, load_target(target)).save(path := tmp_path / "model.onnx")
    assert {node.domain for node in onnx.load(path).graph.node} == {""}


def test_a_bias_outside_has_the_rank_of_what_it_is_added_to(tmp_path: Path) -> None:
    program, batches = _quantized("jetson-orin-nano")
    to_onnx(program, load_target("jetson-orin-nano")).save(path := tmp_path / "model.onnx")
    graph = onnx.load(path).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    added = [shapes[name] for node in graph.node if node.op_type == "Add" for name in node.input if name in shapes]
    assert [1, 1, 32] in added
    assert [1, 1, 48] in added
    assert "Gemm" not in _optimized(path)
    for batch in batches:
        [wanted], [found] = program.run(batch).values(), runner(path)(batch).values()
        assert (wanted - found).abs().max() <= 1e-2 * wanted.abs().max()


def test_the_codes_of_a_joined_product_are_counted_as_weights(tmp_path: Path) -> None:
    program, _ = _quantized("x86-64")
    to_onnx(program, load_target("x86-64")).save(path := tmp_path / "model.onnx")
    told = weight_bits(path)["formats"]
    assert told["int8"]["weights"] == 32 * 64 * 2 + 32 * 32 + 32 * 48
    assert 8 < told["int8"]["bits_in_memory"] < 10
    assert told["fp32"]["weights"] == 64 + 32 + 48


@pytest.mark.parametrize("target", ["x86-64", "web-wasm", "raspberry-pi-5", "android", "iphone", "jetson-orin-nano"])
def test_what_is_no_bias_stays_a_sum(tmp_path: Path, target: str) -> None:
    program, batches = _quantized_odd(target)
    to_onnx(program, load_target(target)).save(path := tmp_path / "model.onnx")
    assert _operators(path).count("MatMulIntegerToFloat") == (2 if target in ("x86-64", "web-wasm") else 0)
    ranks = {tensor.name: len(tensor.dims) for tensor in onnx.load(path).graph.initializer}
    assert {3, 4} <= set(ranks.values()) or target in ("x86-64", "web-wasm")  # the shared bias, once for each rank
    wanted, found = program.run(batches[0]), runner(path)(batches[0])
    for name, value in wanted.items():
        assert (value - found[name]).abs().max() <= 1e-2 * value.abs().max()


@pytest.mark.parametrize("target", ["raspberry-pi-5", "android"])
def test_signed_inputs_run_where_they_are_checked(tmp_path: Path, target: str) -> None:
    """Weights are made unsigned there, and int8 × uint8 has no kernel."""
    program, batches = _quantized(target)
    to_onnx(program, load_target(target)).save(path := tmp_path / "model.onnx")
    assert "Gemm" not in _optimized(path)
    for exact in (True, False) if not load_target("host").saturates else (True,):
        [wanted], [found] = program.run(batches[0]).values(), runner(path, exact=exact)(batches[0]).values()
        assert (wanted - found).abs().max() <= 1e-2 * wanted.abs().max()


def test_older_runtimes_know_the_operator_too(tmp_path: Path) -> None:
    program, batches = _quantized("x86-64")
    target = load_target("x86-64")
    target = replace(target, runtime=replace(target.runtime, opset=14))
    to_onnx(program, target).save(path := tmp_path / "model.onnx")
    assert {imported.domain: imported.version for imported in onnx.load(path).opset_import}[""] == 14
    assert _operators(path).count("MatMulIntegerToFloat") == 3
    [wanted], [found] = program.run(batches[0]).values(), runner(path)(batches[0]).values()
    assert (wanted - found).abs().max() <= 1e-4 * wanted.abs().max()
