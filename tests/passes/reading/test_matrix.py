"""A layer as matrix products gives what the layer gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.reading.matrix import from_matrix, rows_of, to_matrix


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


CASES: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "linear": (nn.Linear(8, 5, bias=False), (2, 3, 8), 1),
    "matmul": (Product(), (2, 3, 8), 1),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=2, stride=2, bias=False), (2, 4, 9), 1),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), bias=False), (2, 4, 9, 8), 1),
    "same": (nn.Conv2d(4, 6, (3, 4), padding="same", dilation=(2, 1), bias=False), (2, 4, 9, 8), 1),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid", bias=False), (2, 4, 5, 5), 1),
    "grouped": (nn.Conv2d(8, 6, 3, padding=1, groups=2, bias=False), (2, 8, 5, 5), 2),
    "conv3d": (nn.Conv3d(4, 6, 2, bias=False), (2, 4, 3, 4, 5), 1),
    "unbatched": (nn.Conv2d(4, 6, 3, bias=False), (4, 5, 6), 1),
}


def layer(case: str) -> tuple[Program, fx.Node, str, Tensor, int]:
    torch.manual_seed(0)
    module, shape, groups = CASES[case]
    program = capture(module, (torch.randn(shape),), static=True).program
    weight = program.get("weight").detach()
    kind = case if case in ("linear", "matmul") else "conv"
    node = next(
        node for node in program.nodes() if any(str(source.target) == "weight" for source in node.all_input_nodes)
    )
    return program, node, kind, weight, groups


@pytest.mark.parametrize("case", CASES)
def test_rows_times_matrix_are_the_outputs(case: str) -> None:
    program, node, kind, weight, groups = layer(case)
    matrix = to_matrix(weight, kind, groups)
    rows = rows_of(node, program.example[0], weight, kind, 10**6)
    product = (rows @ matrix.transpose(1, 2)).transpose(0, 1).flatten(1)  # positions × outputs
    output: Any = next(iter(program.run().values()))
    if kind == "conv":
        output = (output if output.dim() == weight.dim() else output.unsqueeze(0)).movedim(1, -1)
    assert torch.allclose(product, output.reshape(product.shape), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_weight_comes_back(case: str) -> None:
    _, _, kind, weight, groups = layer(case)
    back = from_matrix(to_matrix(weight, kind, groups).double(), weight, kind)
    assert torch.equal(back, weight)
    assert back.dtype == weight.dtype


def test_consecutive_inputs_run_along_channels() -> None:
    weight = torch.arange(2 * 4 * 9.0).reshape(2, 4, 3, 3)
    assert torch.equal(to_matrix(weight, "conv")[0, 0, :4], weight[0, :, 0, 0])


def test_few_positions_are_spread_evenly() -> None:
    program, node, kind, weight, _ = layer("linear")
    rows = rows_of(node, program.example[0], weight, kind, 2)
    assert torch.equal(rows[0], program.example[0].flatten(0, 1)[[0, 5]])


def test_a_pointwise_kernel_is_laid_out_as_before() -> None:
    """Else the convolution yields channels last, and a view of it fails."""
    weight = torch.randn(64, 32, 1, 1)
    back = from_matrix(to_matrix(weight, "conv", 1), weight, "conv")
    assert back.stride() == weight.stride()
    assert functional.conv2d(torch.randn(2, 32, 4, 4), back).view(2, -1).shape == (2, 1024)


@pytest.mark.parametrize("kind", ["conv_transpose", "embedding"])
def test_rows_that_share_a_scale(kind: str) -> None:
    weight = torch.randn(6, 4, 3, 2) if kind == "conv_transpose" else torch.randn(6, 4)
    [matrix] = to_matrix(weight, kind)
    axis = int(kind == "conv_transpose")
    assert torch.equal(matrix.abs().amax(1), weight.movedim(axis, 0).flatten(1).abs().amax(1))
    back = from_matrix(matrix[None], weight, kind)
    assert torch.equal(back, weight)
    assert back.is_contiguous()
