"""Units switched off in training compute what the sliced program computes, through norms over them, too."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from programs import text
from recovery import digits_program
from tiny import TinyGpt
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.program import Program
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.masked import Masked
from compressor.passes.recover.device import Place

CPU = Place(torch.device("cpu"))


class Rms(nn.Module):
    """A root-mean-square norm as it is captured: a mean over the units."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.gain = nn.Linear(6, 12), nn.Linear(12, 3), nn.Parameter(torch.rand(12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        y: Tensor = self.down(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.gain)
        return y


def _gpt() -> Program:
    torch.manual_seed(0)
    return capture(TinyGpt(), (torch.randint(0, 128, (2, 8)),)).program


def _rms() -> Program:
    torch.manual_seed(0)
    return capture(Rms(), (torch.randn(4, 6),)).program


def _normed(norm: nn.Module, dims: int) -> Program:
    torch.manual_seed(0)
    up, down = (nn.Linear(6, 12), nn.Linear(12, 3)) if dims == 2 else (nn.Conv2d(6, 12, 3), nn.Conv2d(12, 3, 3))
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return capture(nn.Sequential(up, norm, down).eval(), (torch.randn(4, 6, *[7, 7][: dims - 2]),)).program


NORMS: dict[str, Callable[[], Program]] = {
    "rms-norm": lambda: _normed(nn.RMSNorm(12), 2),
    "rms-norm-eps": lambda: _normed(nn.RMSNorm(12, eps=0.1), 2),
    "group-norm": lambda: _normed(nn.GroupNorm(3, 12), 4),
    "group-norm-1": lambda: _normed(nn.GroupNorm(1, 12), 4),
}
PROGRAMS = {**NORMS, "digits": digits_program, "gpt": _gpt, "rms": _rms, "text": text}


@pytest.mark.parametrize("name", PROGRAMS)
def test_off_is_sliced_off(name: str) -> None:
    program = prepared(PROGRAMS[name]())
    dimensions = analyse(program)
    units = [unit for d in dimensions.dimensions for unit in d.units]
    draw = random.Random(0)
    gone = [unit for d in dimensions.dimensions for unit in draw.sample(d.units, len(d.units) // 3)]
    masked = Masked(dimensions, units, CPU, batch_norm=False)
    z = torch.tensor([float(unit not in gone) for unit in units])
    feeds = dict(zip((spec.name for spec in program.inputs), program.example, strict=True))
    wanted = list(cut(Removal(dimensions, gone)).run().values())
    got = masked.outputs(feeds, z)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(got, wanted, strict=True))
    assert not torch.allclose(got[0], program.module(*program.example)[0], atol=1e-3)
    masked.switch(z)
    stored = masked.trainee.plain(*program.example)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(stored, wanted, strict=True))
    sliced = masked.sliced(gone)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(sliced.run().values(), wanted, strict=True))


def test_masks_learn_and_the_program_is_not_written_to() -> None:
    program = prepared(_gpt())
    dimensions = analyse(program)
    units = [unit for d in dimensions.dimensions for unit in d.units]
    before = program.hash()
    masked = Masked(dimensions, units, CPU, batch_norm=False)
    z = torch.full((len(units),), 0.5, requires_grad=True)
    torch.autograd.backward(masked.outputs({"ids": program.example[0]}, z)[0].square().sum())
    assert z.grad is not None
    assert bool((z.grad != 0).all())
    masked.switch(torch.zeros(len(units)))
    assert program.hash() == before


def test_ties_stay_ties() -> None:
    dimensions = analyse(prepared(_gpt()))
    [stem] = [d for d in dimensions.dimensions if any(tensor == "norm.weight" for tensor, *_ in d.spans)]
    sliced = Masked(dimensions, stem.units, CPU, batch_norm=False).sliced(stem.units[:8])
    assert sliced.parameters() == cut(Removal(dimensions, stem.units[:8])).parameters()
