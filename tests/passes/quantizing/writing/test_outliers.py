"""Rare large inputs: split in two ranges exactly in float, where one range errs too much, and again from a recipe."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.settings import OUTLIERS
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.writing.outliers import apply_ranges, split_ranges
from compressor.targets.loader import load_target

LIMITS = Limits(True, "minmax", 99.99, 128, 0.02)


class Spiky(nn.Module):
    """A linear layer whose first token has four inputs far above all others, which count little."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(torch.tanh(x) * x))


def made(times: float) -> tuple[Program, list[Batch]]:
    torch.manual_seed(0)
    x = torch.randn(8, 12, 64)
    x[:, 0, :4] *= times
    model = Spiky().eval()
    with torch.no_grad():
        model.linear.weight[:, :4] /= times
    program = capture(model, (x[:2],)).program
    return program, [{program.inputs[0].name: x}]


def test_split_in_float_it_is_the_same() -> None:
    program, batches = made(40.0)
    copy, _ = functional_copy(program)
    apply_ranges(copy, {"linear": {OUTLIERS[0]: 1.5, OUTLIERS[1]: 0.1}})
    [wanted], [found] = program.run(batches[0]).values(), copy.run(batches[0]).values()
    assert torch.allclose(wanted, found, atol=1e-4)
    [layer] = find_layers(copy)[0]
    assert len(layer.nodes) == 2


def test_only_where_one_range_errs_too_much() -> None:
    for times, expected in ((1.0, set()), (40.0, {"linear"})):
        program, batches = made(times)
        copy, _ = functional_copy(program)
        context = Context(load_target("x86-64"), calibration=batches, synthetic=False)
        splits = split_ranges(copy, find_layers(copy)[0], context, LIMITS)
        assert set(splits.settings) == set(splits.errors) == expected
        assert all(error <= LIMITS.max_error for error in splits.errors.values())


@pytest.mark.parametrize("target", ["x86-64", "web-wasm"])
def test_where_the_extremes_suffice_they_are_the_range(target: str) -> None:
    program, batches = made(6.0)
    copy, _ = functional_copy(program)
    context = Context(load_target(target), calibration=batches, synthetic=False)
    narrow = Limits(True, "percentile", 90.0, 128, 0.1)
    found = split_ranges(copy, find_layers(copy)[0], context, narrow)
    assert (dict(found.settings), found.extremes) == ({}, {"linear"})
    options = {"calibrator": "percentile", "percentile": 90.0, "max_error": 0.1, "equalize": "none"}
    setting = Quantize(**options).run(program, context).settings["linear"]  # type: ignore[arg-type]
    [x] = batches[0].values()
    assert setting["high"] == pytest.approx(float((torch.tanh(x) * x).max()))
    assert "low" not in Quantize(**{**options, "max_error": 1e-4}).run(program, context).settings["linear"]  # type: ignore[arg-type]


def test_a_slow_target_keeps_one_range() -> None:
    program, batches = made(40.0)
    context = Context(load_target("web-wasm"), calibration=batches, synthetic=False)
    copy, _ = functional_copy(program)
    assert not split_ranges(copy, find_layers(copy)[0], context, LIMITS).settings


def test_the_pass_computes_in_integers_and_its_recipe_does_the_same_again() -> None:
    program, batches = made(40.0)
    context = Context(load_target("x86-64"), calibration=batches, synthetic=False)
    options = {"calibrator": "minmax", "max_error": 0.02, "equalize": "none", "bias": "none", "solver": "nearest"}
    done = Quantize(**options).run(program, context)  # type: ignore[arg-type]
    assert OUTLIERS[0] in done.settings["linear"]
    assert done.settings["linear"]["format"] == "int8"
    again = Quantize(sites=done.settings).run(program, context)
    [wanted], [found], [repeated] = (each.run(batches[0]).values() for each in (program, done.program, again.program))
    assert torch.equal(found, repeated)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_the_weight_is_stored_once_and_turned() -> None:
    program, batches = made(40.0)
    context = Context(load_target("x86-64"), calibration=batches, synthetic=False)
    done = Quantize(calibrator="minmax", max_error=0.02, equalize="none").run(program, context)
    model = to_onnx(done.program, context.target).model
    assert sum(node.op_type in ("MatMul", "MatMulIntegerToFloat") for node in model.graph) == 2
    assert "Transpose" not in [node.op_type for node in model.graph]
    assert sum(value.const_value.nbytes for value in model.graph.initializers.values()) < 2 * 64 * 32  # type: ignore[union-attr]


def test_both_ranges_go_through_training_and_its_recipe_does_the_same_again() -> None:
    program, batches = made(40.0)
    context = Context(
        load_target("x86-64"), calibration=batches, training=batches * 4, teacher=program, synthetic=False
    )
    options = {"calibrator": "minmax", "max_error": 0.02, "equalize": "none", "bias": "none", "rate": 1e-5}
    done = Quantize(**options, train="8steps").run(program, context)  # type: ignore[arg-type]
    assert OUTLIERS[0] in done.settings["linear"]
    assert not [skip.reason for skip in done.skipped if skip.site == "program"]
    again = Quantize(sites=done.settings).run(program, context)
    [wanted], [found], [repeated] = (each.run(batches[0]).values() for each in (program, done.program, again.program))
    assert torch.equal(found, repeated)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03
