"""Quantize–dequantize pairs around layers become products of codes that give the same; what is none stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from quantized import dequantized, quantized, tied_int8, with_int8
from torch import nn

from compressor.export.codes import in_codes
from compressor.graph.capture import capture
from compressor.graph.edit import add_tensor, finish, insert
from compressor.graph.program import Program

aten, ops = torch.ops.aten, torch.ops.compressor
X = {"image": (2, 4, 9, 8), "line": (2, 4, 20), "rows": (3, 5, 16), "matrix": (6, 16)}


class Times(nn.Module):
    """x times a matrix that lies as (inputs, outputs)."""

    def __init__(self, product: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.weight, self.bias, self.product = nn.Parameter(torch.randn(16, 6)), nn.Parameter(torch.randn(6)), product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x, self.weight, self.bias)


TAKEN = {
    "linear": (nn.Linear(16, 6), "rows"),
    "linear without bias": (nn.Linear(16, 6, bias=False), "matrix"),
    "linear and relu": (nn.Sequential(nn.Linear(16, 6), nn.ReLU()), "matrix"),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), "image"),
    "convolution and relu": (nn.Sequential(nn.Conv2d(4, 6, (3, 2), dilation=(1, 2)), nn.ReLU()), "image"),
    "convolution, same": (nn.Conv2d(4, 6, (4, 3), padding="same"), "image"),
    "convolution, depthwise": (nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.ReLU()), "image"),
    "convolution, several outputs a channel": (nn.Conv2d(4, 8, 3, groups=4), "image"),
    "convolution in groups": (nn.Conv1d(4, 6, 3, groups=2), "line"),
    "convolution of a line": (nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU()), "line"),
}
LEFT = {
    "transposed": (nn.ConvTranspose2d(4, 6, 3), "image"),
}


def program(module: nn.Module, x: str) -> Program:
    torch.manual_seed(0)
    return capture(module.eval(), (torch.rand(*X[x]),)).program


def layers(given: Program) -> tuple[str, ...]:
    return tuple(n.name for n in given.nodes() if n.name.startswith(("linear", "conv", "mm", "addmm", "matmul")))


def targets(given: Program) -> set[object]:
    return {node.target for node in given.nodes()}


def agree(one: Program, two: Program) -> None:
    for left, right in zip(one.run().values(), two.run().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TAKEN)
def test_layers_with_whole_numbers_on_both_sides_are_products_of_codes(name: str) -> None:
    plain = program(*TAKEN[name])
    given = with_int8(plain, *layers(plain), output=False)
    found = in_codes(given)
    made = ops.conv_codes.default if "conv" in name else ops.linear_codes.default
    assert made in targets(found)
    assert targets(found).isdisjoint({aten.linear.default, aten.conv2d.default, aten.conv1d.default})
    assert ops.dequantize.default not in targets(found)
    agree(found, given)


@pytest.mark.parametrize("product", [lambda x, w, b: torch.addmm(b, x, w), lambda x, w, b: x @ w + b])
def test_matrices_that_lie_the_other_way_are_turned(product: Callable[..., torch.Tensor]) -> None:
    given = program(Times(product), "matrix").copy()
    [node] = [node for node in given.nodes() if node.target in (aten.addmm.default, aten.matmul.default)]
    at = 2 if node.target is aten.addmm.default else 1
    weight = given.get("weight").detach()
    scale = weight.abs().amax(0) / 127
    parts = (torch.round(weight / scale).to(torch.int8), scale, torch.zeros(6, dtype=torch.int8))
    reads = [add_tensor(given, f"w{i}", part, node, buffer=True) for i, part in enumerate(parts)]
    node.update_arg(at, insert(given, ops.dequantize.default, (*reads, 1), like=node))
    x = quantized(given, node.args[at - 1], before=node)
    node.update_arg(at - 1, dequantized(given, x, before=node))
    given = finish(given)
    found = in_codes(given)
    assert ops.linear_codes.default in targets(found)
    assert ops.dequantize.default not in targets(found)
    agree(found, given)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_product_stays_as_it_is(name: str) -> None:
    plain = program(*LEFT[name])
    given = with_int8(plain, *layers(plain), output=False)
    assert in_codes(given) is given


def test_weights_alone_in_whole_numbers_stay_as_they_are() -> None:
    plain = program(*TAKEN["linear"])
    given = with_int8(plain, "linear", weight_only=True)
    assert in_codes(given) is given
    assert in_codes(plain) is plain


@pytest.mark.parametrize("wide", [1.0, 2.0])
def test_a_bias_in_the_unit_of_the_sums_is_counted(wide: float) -> None:
    plain = program(nn.Linear(16, 6), "matrix")
    given = with_int8(plain, "linear", output=False)
    [node] = [node for node in given.nodes() if node.target is aten.linear.default]
    x, weight = (given.get(str(node.args[i].args[1].target)) for i in (0, 1))  # type: ignore[union-attr]
    scale = x * weight * wide
    counted = torch.round(given.get("bias").detach() / scale).to(torch.int32)
    parts = (counted, scale, torch.zeros_like(counted))
    reads = [add_tensor(given, f"b{i}", part, node, buffer=True) for i, part in enumerate(parts)]
    node.update_arg(2, insert(given, ops.dequantize.default, (*reads, 0), like=node))
    given = finish(given)
    found = in_codes(given)
    [product] = [node for node in found.nodes() if node.target is ops.linear_codes.default]
    assert [argument is None for argument in product.args[5:7]] == ([False, True] if wide == 1 else [True, False])
    agree(found, given)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.table(ids), self.table.weight)


def test_a_table_whose_codes_a_product_reads_is_one_of_codes() -> None:
    plain = capture(Tied().eval(), (torch.randint(0, 50, (2, 3)),)).program
    given = tied_int8(plain)
    found = in_codes(given)
    assert {ops.table_codes.default, ops.linear_codes.default} <= targets(found)
    assert aten.embedding.default not in targets(found)
    agree(found, given)
    alone = given.copy()
    [product] = [node for node in alone.nodes() if node.target is aten.linear.default]
    product.replace_all_uses_with(product.args[0])  # type: ignore[arg-type]
    assert aten.embedding.default in targets(in_codes(finish(alone)))
