"""ATen's layers become operators of our own that give the same; what has no such operator stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.export.float_layers import in_layers
from compressor.graph.capture import capture
from compressor.graph.program import Program

aten, ops = torch.ops.aten, torch.ops.compressor


class Times(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(16, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight) + x @ self.weight


class Heads(nn.Module):
    def __init__(self, mask: torch.Tensor | None = None, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = x.view(2, 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal)
        return y.transpose(1, 2).reshape(2, 5, 16)


IMAGE, LINE = torch.randn(2, 4, 9, 8), torch.randn(2, 4, 20)
HEADS = torch.randn(2, 5, 48)
TAKEN = {
    "conv": (nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE, ops.conv_last.default),
    "conv, groups": (nn.Conv2d(4, 8, (3, 2), groups=2, dilation=(1, 2), bias=False), IMAGE, ops.conv_last.default),
    "conv, same": (nn.Conv2d(4, 6, (4, 3), padding="same"), IMAGE, ops.conv_last.default),
    "line": (nn.Conv1d(4, 6, 5, padding=2), LINE, ops.conv_last.default),
    "linear": (nn.Linear(20, 7), LINE, ops.dense.default),
    "products": (Times(), torch.randn(3, 16), ops.dense.default),
    "max pool": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE, ops.max_pool_last.default),
    "mean pool": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE, ops.avg_pool_last.default),
    "adaptive pool": (nn.AdaptiveAvgPool2d((3, 2)), IMAGE, ops.avg_pool_last.default),
    "global pool": (nn.AdaptiveAvgPool2d(1), IMAGE, aten.mean.dim),
    "norm": (nn.BatchNorm2d(4), IMAGE, aten.mul.Tensor),
    "norm without weights": (nn.BatchNorm1d(4, affine=False), LINE, aten.mul.Tensor),
    "norm of each image": (nn.InstanceNorm2d(4, affine=True), IMAGE, aten.layer_norm.default),
    "norm by what was seen": (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE, aten.mul.Tensor),
    "norm of each line": (nn.InstanceNorm1d(4), LINE, aten.layer_norm.default),
    "attention": (Heads(), HEADS, ops.attention.default),
    "causal attention": (Heads(causal=True), HEADS, ops.attention.default),
    "masked attention": (Heads(torch.rand(5, 5) > 0.2), HEADS, ops.attention.default),
    "biased attention": (Heads(torch.randn(2, 1, 5, 5)), HEADS, ops.attention.default),
}
LEFT = {
    "transposed": (nn.ConvTranspose2d(4, 6, 3), IMAGE),
    "uneven pool": (nn.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "double": (nn.Linear(20, 7).double(), LINE.double()),
}


def _program(module: nn.Module, x: torch.Tensor) -> Program:
    torch.manual_seed(0)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
            each.running_mean.uniform_(-1, 1)
            each.running_var.uniform_(0.5, 2)
    return capture(module.eval(), (x,)).program


@pytest.mark.parametrize("name", TAKEN)
def test_layers_are_ours_and_give_the_same(name: str) -> None:
    module, x, wanted = TAKEN[name]
    given = _program(module, x)
    found = in_layers(given)
    assert wanted in {node.target for node in found.nodes()}
    for left, right in zip(given.run().values(), found.run().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_none_stays_as_it_is(name: str) -> None:
    given = _program(*LEFT[name])
    assert in_layers(given) is given
