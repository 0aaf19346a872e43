"""Patches in TVM: rows of floats in any number of dimensions, and of codes where kernels read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import Tensor, nn

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import TVMSession
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize

ops = torch.ops.compressor


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


class Patches(nn.Module):
    def __init__(self, *sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        return ops.patches(x, *self.sizes)


def run(given: Program, folder: Path, *x: Tensor) -> Tensor:
    path = folder / "model.so"
    to_tvm(given, tvm_target(), path)
    [found] = TVMSession(path).run(x or given.example)
    return found


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((2, 9, 4), ([3], [2], [1, 1], [1])),
        ((1, 11, 8, 3), ([2, 3], [3, 2], [0, 1, 2, 0], [2, 1])),
        ((1, 5, 6, 4, 2), ([3, 1, 2], [1, 2, 1], [1, 0, 0, 0, 1, 1], [1, 1, 2])),
    ],
)
def test_rows_of_floats(shape: tuple[int, ...], sizes: tuple[list[int], ...], tmp_path: Path) -> None:
    given = capture(Patches(*sizes), (torch.randn(shape),)).program
    [wanted] = given.run().values()
    assert torch.equal(run(given, tmp_path), wanted)


class Net(nn.Module):
    """Convolutions of every form that has whole blocks of channels, one that has not, and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, 2, 1)
        self.same, self.spread = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 32, (1, 3), dilation=(1, 2))
        self.line = nn.Conv1d(32, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.wide(torch.relu(self.stem(x))))
        y = torch.relu(self.same(y) + y)
        return self.line(torch.relu(self.spread(y)).flatten(2))


@pytest.mark.parametrize("format", ["ternary", "int4"])
def test_convolutions_in_blocks(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    target = tvm_target()
    before = capture(Net().eval(), (torch.randn(2, 3, 10, 12),)).program
    given = Quantize(format, block=32).run(before, Context(target)).program
    calls = [node for node in given.nodes() if node.target is ops.patches.default]
    assert len(calls) == 4, "all but the stem, of three channels"
    [wanted] = given.run().values()
    torch.testing.assert_close(run(given, tmp_path), wanted, rtol=2e-3, atol=2e-3)


def test_any_number_of_samples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU())
    before = capture(model.eval(), (torch.randn(2, 32, 5, 6),)).program
    given = Quantize("ternary", block=32).run(before, Context(tvm_target())).program
    x = torch.randn(5, 32, 5, 6)
    [wanted] = given.run([x]).values()
    torch.testing.assert_close(run(given, tmp_path, x), wanted, rtol=1e-4, atol=1e-4)
