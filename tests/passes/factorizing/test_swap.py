"""A site with another matrix computes what the network with that weight computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.functional import functional_copy
from compressor.graph.stepping import Stepper
from compressor.passes.factorizing.sites import find_sites
from compressor.passes.factorizing.swap import swapped


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, padding=1)
        self.table = nn.Embedding(20, 16)
        self.fc = nn.Linear(16, 16, bias=False)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        result: Tensor = self.conv(x).mean((2, 3)) + self.fc(self.table(ids)).mean(1)
        return result


@pytest.mark.parametrize("name", ["conv", "table", "fc"])
def test_it_is_the_network_with_that_weight(name: str) -> None:
    torch.manual_seed(0)
    net, inputs = Net(), (torch.randn(2, 8, 6, 6), torch.randint(20, (2, 5)))
    program, _ = functional_copy(capture(net, inputs).program)
    site = next(site for site in find_sites(program)[0] if site.name == name)
    bias = torch.randn(16) if name == "conv" else None
    calls = swapped(program, site, 2 * site.matrix(program), bias)
    [ours] = Stepper(program, list(inputs)).fork(calls).outputs()
    with torch.no_grad():
        net.get_submodule(name).weight.mul_(2)  # type: ignore[operator, union-attr]
        if bias is not None:
            net.conv.bias = nn.Parameter(bias)
    torch.testing.assert_close(ours, net(*inputs))
