"""Sites: each kind is found, what shares a weight is one, and the rest is declined with the reason."""

from __future__ import annotations

import torch
from every_layer import every, functional
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.edit import set_tensor
from compressor.passes.factorizing.ranks import Shape
from compressor.passes.factorizing.sites import find_sites


def test_every_kind_is_found() -> None:
    program = functional(every())
    sites, skipped = find_sites(program)
    found = {site.name: (site.kind, site.shape, site.bias, len(site.nodes)) for site in sites}
    assert found == {
        "output": ("tied", Shape(60, 32), "", 2),
        "positions": ("matmul", Shape(24, 32), "", 1),
        "stem": ("conv", Shape(20, 1, 25), "stem.bias", 1),
        "wide": ("conv", Shape(24, 20, 9), "", 1),
        "point": ("conv", Shape(32, 24), "point.bias", 1),
        "hidden": ("linear", Shape(48, 32), "hidden.bias", 1),
        "plain": ("linear", Shape(32, 48), "", 1),
        "twice": ("linear", Shape(32, 32), "twice.bias", 2),
    }
    assert {skip.site: skip.reason for skip in skipped} == {
        "depthwise": "it is a convolution by channel: its matrices are small already",
        "tiny": "it has only 5 outputs",
    }
    for site in sites:
        assert site.matrix(program).shape == (site.shape.outputs, site.shape.inputs)
    assert [site.stem for site in sites][:3] == ["output.", "positions_", "stem."]
    assert len(sites[0].products) == 1


def test_what_the_user_keeps() -> None:
    program = functional(every())
    sites, skipped = find_sites(program, ("stem", "hidden*"))
    assert not {"stem", "hidden"} & {site.name for site in sites}
    assert {skip.reason for skip in skipped if skip.site in ("stem", "hidden")} == {"kept, as asked"}


def reasons(model: nn.Module, x: Tensor) -> dict[str, str]:
    return {skip.site: skip.reason for skip in find_sites(functional(capture(model.eval(), (x,)).program))[1]}


def test_weights_that_others_read_or_share() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(32, 32)
            self.b = nn.Linear(32, 32)
            self.up = nn.ConvTranspose1d(32, 32, 2)
            self.grouped = nn.Conv1d(32, 32, 3, groups=2)
            whole = torch.randn(48, 32)
            self.one, self.other = nn.Parameter(whole[:32]), nn.Parameter(whole[16:])

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x) @ self.a.weight.T)
            x = torch.nn.functional.linear(torch.nn.functional.linear(x, self.one), self.other)
            return self.grouped(self.up(x.mT))

    assert reasons(Odd(), torch.randn(2, 4, 32)) == {
        "a": "its weight is also read by numpy_T",
        "a.weight": "numpy_T has no form of low rank",
        "one": "its weight is also read by linear",
        "other": "its weight is also read by linear",
        "up": "it is a transposed convolution",
        "grouped": "it is a convolution in groups: its matrices are small already",
    }


def test_weights_that_are_sparse_or_not_finite() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32))
    program = functional(capture(model.eval(), (torch.randn(2, 32),)).program)
    weight = program.get("0.weight").detach().clone()
    weight[:, ::2] = 0.0
    set_tensor(program, "0.weight", weight)
    set_tensor(program, "1.weight", torch.full((32, 32), float("inf")))
    sites, skipped = find_sites(program)
    assert [site.name for site in sites] == ["2"]
    assert {skip.site: skip.reason for skip in skipped} == {
        "0": "50% of its weights are zero, and of its factors none would be",
        "1": "its weights are not finite",
    }


def test_a_scaled_product() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.weight = nn.Parameter(torch.randn(32)), nn.Parameter(torch.randn(32, 32))

        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.bias, x, self.weight, alpha=2)

    assert reasons(Scaled(), torch.randn(2, 32)) == {"weight": "its product is scaled"}
