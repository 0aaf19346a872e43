"""Layers of floats in TVM: whole networks beside PyTorch, every kind of layer that has a kernel, in other batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn
from torch.nn import functional

from compressor.export.float_layers import in_layers
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import tvm_runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.edit import argument
from compressor.passes.quantize import Quantize

ops = torch.ops.compressor


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


class Images(nn.Module):
    """Strides, groups, depth, pools, channels joined and weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 20, 3, 2, 1), nn.Conv2d(20, 40, 1)
        self.deep, self.norm = nn.Conv2d(40, 40, 5, 1, 2, groups=40), nn.BatchNorm2d(40)
        self.grouped, self.back = nn.Conv2d(40, 24, 3, 1, 1, groups=4), nn.Conv2d(24, 20, 1)
        self.head = nn.Linear(40, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.max_pool2d(functional.relu6(self.stem(x)), 3, 2, 1)
        z = functional.hardswish(self.norm(self.deep(functional.relu(self.wide(y)))))
        z = z * torch.sigmoid(z.mean((2, 3), True))
        z = functional.relu(self.back(functional.silu(self.grouped(z))) + y)
        z = torch.cat([z, functional.avg_pool2d(z, 3, 1, 1, count_include_pad=False)], 1)
        return self.head(functional.adaptive_avg_pool2d(z, 1).flatten(1))


class Words(nn.Module):
    """Lines, attention with a mask, and causal."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.qkv, self.out = nn.Conv1d(6, 24, 3, padding=1), nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        y = functional.gelu(self.line(x)).transpose(1, 2)
        for mask in (seen[:, None, None], None):
            q, k, v = self.qkv(y).unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4).unbind(0)
            a = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
            y = y + self.out(a.transpose(1, 2).flatten(2))
        return y


class Stored(nn.Module):
    """Convolutions of both dimensions, in groups and alone, and products of both layouts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped, self.line = nn.Conv2d(24, 32, 3, groups=2, bias=False), nn.Conv1d(32, 40, 3)
        self.linear, self.product = nn.Linear(40, 64), nn.Parameter(torch.randn(64, 48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.grouped(functional.relu(self.deep(functional.relu(self.stem(x))))))
        y = functional.relu(self.line(y.flatten(2)))
        return functional.relu(self.linear(y.mT)) @ self.product


def test_weights_that_alone_are_int8_stay_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    floats = capture(Stored().eval(), (torch.randn(2, 3, 10, 9),)).program
    target = tvm_target()
    program = Quantize("int8", mode="weight-only").run(floats, Context(target)).program
    ours = in_layers(program)
    layers = [node for node in ours.nodes() if node.target in (ops.conv_last.default, ops.dense.default)]
    assert len(layers) == 6
    assert all(argument(node, "scale") is not None for node in layers)
    assert not any(node.target is ops.dequantize.default for node in ours.nodes() if node.users)
    to_tvm(program, target, tmp_path / "model.so")
    x = {"x": torch.randn(3, 3, 10, 9)}
    found = tvm_runner(tmp_path / "model.so", ["x"], ["output"])(x)
    torch.testing.assert_close(found, program.run(x), rtol=1e-4, atol=1e-4)


def test_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Images()
    model.norm.running_mean.uniform_(-1, 1)
    program = capture(model.eval(), (torch.randn(2, 3, 33, 30),)).program
    to_tvm(program, tvm_target(), tmp_path / "model.so")
    run = tvm_runner(tmp_path / "model.so", ["x"], ["output"])
    for size in (1, 2, 5):
        batch = {"x": torch.randn(size, 3, 33, 30)}
        torch.testing.assert_close(run(batch), program.run(batch), rtol=1e-4, atol=1e-5)


def test_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen = torch.arange(19)[None] < torch.tensor([[12], [19]])
    program = capture(Words().eval(), (torch.randn(2, 6, 19), seen)).program
    names = [spec.name for spec in program.inputs]
    to_tvm(program, tvm_target(), tmp_path / "model.so")
    run = tvm_runner(tmp_path / "model.so", names, ["output"])
    for size in (1, 2, 3):
        batch = dict(zip(names, (torch.randn(size, 6, 19), seen[:1].expand(size, 19).clone()), strict=True))
        torch.testing.assert_close(run(batch), program.run(batch), rtol=1e-4, atol=1e-5)
