"""Error by layer: which outputs correspond, and how far they are apart."""

from __future__ import annotations

import math

import pytest
import torch
from quantized import with_int8
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.edit import set_tensor
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.fold import Fold
from compressor.report.layers import SAMPLE, layer_errors
from compressor.targets import load_target


class Net(nn.Module):
    """conv, batch norm, relu; layer norm, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 4)
        for tensor in (self.bn.weight, self.bn.bias, self.norm.weight, self.norm.bias):
            nn.init.uniform_(tensor, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.relu(self.bn(self.conv(x))).mean((2, 3))))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (torch.randn(4, 3, 8, 8),)).program


def errors(before: Program, after: Program) -> dict[str, float]:
    return {found.layer: found.error for found in layer_errors(before, after, {"x": before.example[0]})}


def test_a_program_against_itself_has_no_error_in_order_of_execution(program: Program) -> None:
    assert list(errors(program, program).items()) == [(name, 0.0) for name in ("conv", "bn", "relu", "norm", "fc")]


def test_folding_moves_no_layer_that_is_left(program: Program) -> None:
    folded = Fold().run(program, Context(target=load_target("x86-64"))).program
    found = errors(program, folded)
    assert {"bn", "norm"}.isdisjoint(found)  # folded into the conv before and the linear after
    assert {"conv", "relu", "fc"} <= set(found)
    assert max(found.values()) < 1e-5


def test_the_error_is_the_relative_distance(program: Program) -> None:
    changed = program.copy()
    set_tensor(changed, "fc.weight", program.tensors()["fc.weight"].detach() * 1.01)
    set_tensor(changed, "fc.bias", program.tensors()["fc.bias"].detach() * 1.01)
    found = errors(program, changed)
    assert found["fc"] == pytest.approx(0.01, rel=1e-3)
    assert found["norm"] == 0.0


def test_a_quantized_layer_corresponds_to_the_float_one(program: Program) -> None:
    found = errors(program, with_int8(program, "linear", "conv2d", weight_only=True))
    assert list(found) == ["conv", "bn", "relu", "norm", "fc"]
    assert all(0 < error < 0.03 for error in found.values())


def test_what_is_quantized_again_is_compared_after_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    program = capture(model.eval(), (torch.rand(4, 3, 8, 8),)).program
    found = layer_errors(program, with_int8(program, "conv2d"), {"input": program.example[0]})
    by_layer = {entry.layer: entry.error for entry in found}
    assert list(by_layer) == ["0", "1", "2"]
    assert 0 < by_layer["0"] < by_layer["1"] < 0.1  # the relu's output carries the rounding of its quantization too


def test_a_result_that_is_not_finite_is_an_infinite_error(program: Program) -> None:
    broken = program.copy()
    set_tensor(broken, "fc.weight", program.tensors()["fc.weight"].detach() * math.nan)
    assert errors(program, broken)["fc"] == math.inf


def test_layers_of_another_width_are_absent(program: Program) -> None:
    torch.manual_seed(0)
    other = Net()
    other.fc = nn.Linear(8, 5)
    narrow = capture(other.eval(), (torch.randn(4, 3, 8, 8),)).program
    assert "fc" not in errors(program, narrow)


def test_neither_program_is_changed(program: Program) -> None:
    before = program.hash()
    layer_errors(program, program.copy(), {"x": program.example[0]})
    assert program.hash() == before


def test_large_layers_are_sampled_at_the_same_elements() -> None:
    wide = capture(nn.Sequential(nn.Linear(4, 2 * SAMPLE), nn.ReLU()), (torch.randn(2, 4),)).program
    changed = wide.copy()
    set_tensor(changed, "0.weight", wide.tensors()["0.weight"].detach() * 1.1)
    set_tensor(changed, "0.bias", wide.tensors()["0.bias"].detach() * 1.1)
    found = layer_errors(wide, changed, {"input": wide.example[0]})
    assert [entry.error for entry in found] == [pytest.approx(0.1, rel=1e-4)] * 2


def test_a_layer_in_parts_is_the_one_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
    for tensor in (model[3].weight, model[3].bias):
        nn.init.uniform_(tensor, 0.5, 2.0)
    program = capture(model.eval(), (torch.randn(64, 16),)).program
    context = Context(target=load_target("x86-64"))
    thin = Factorize(amount=0.4, slower=True).run(program, context)
    folded = Fold().run(thin.program, context)
    assert set(thin.changed) == {"0.weight", "2.weight"}
    assert "batch_norm:3" in folded.changed
    x = program.example[0]
    found = {e.layer: e.error for e in layer_errors(program, folded.program, {"input": x})}
    weights = folded.program.tensors()
    product = x @ weights["0.first.weight"].T @ weights["0.second.weight"].T + weights["0.second.bias"]
    [output] = folded.program.run([x]).values()
    assert list(found) == ["0", "1", "2", "4"]  # the batch norm went into the second
    for layer, value, reference in (
        ("0", product, model[0](x)),
        ("1", product.relu(), model[0](x).relu()),
        ("4", output, model(x)),
    ):
        assert found[layer] == pytest.approx(((value - reference).norm() / reference.norm()).item(), rel=1e-4)


def test_what_is_folded_into_the_layer_behind_does_not_move_the_one_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    for tensor in (model[2].weight, model[2].bias):
        nn.init.uniform_(tensor, 2.0, 4.0)
    program = capture(model.eval(), (torch.randn(64, 8),)).program
    folded = Fold().run(program, Context(target=load_target("x86-64"))).program
    found = {entry.layer: entry.error for entry in layer_errors(program, folded, {"input": program.example[0]})}
    assert list(found) == ["0", "1", "3"]
    assert max(found.values()) < 1e-5


def test_a_scaled_layer_is_compared_in_its_old_units(program: Program) -> None:
    scale = torch.linspace(1, 9, 8)
    moved = program.copy()
    for name in ("norm.weight", "norm.bias"):
        set_tensor(moved, name, program.tensors()[name].detach() / scale)
    set_tensor(moved, "fc.weight", program.tensors()["fc.weight"].detach() * scale)
    batch = {"x": program.example[0]}
    assert errors(program, moved)["norm"] > 0.5
    found = {e.layer: e.error for e in layer_errors(program, moved, batch, {"norm": scale[None]})}
    assert max(found.values()) < 1e-5
    wrong = {e.layer: e.error for e in layer_errors(program, program, batch, {"norm": torch.ones(1, 9)})}
    assert "norm" not in wrong  # of another width
