"""Wide networks take small steps, and those that lost much large ones."""

from __future__ import annotations

import itertools

import pytest
import torch
from programs import text
from recovery import damaged, digits_batches, digits_program
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.recover import Settings, recover
from compressor.passes.recover.rates import base_rate, plain_rate, raised


def _layers(*widths: int) -> Program:
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return capture(nn.Sequential(*layers).eval(), (torch.randn(2, widths[0]),)).program


def test_wide_layers_take_smaller_steps() -> None:
    assert base_rate(_layers(384, 384, 384, 10)) == pytest.approx(3e-4)
    assert base_rate(_layers(1536, 1536, 1536, 10)) == pytest.approx(1.5e-4)
    assert base_rate(_layers(96, 384, 96, 10)) == pytest.approx(6e-4)
    assert base_rate(_layers(8, 8, 8)) == 1e-3, "no more than for convolutions"
    assert base_rate(text()) > plain_rate(text()) == 3e-4


def test_convolutions_bear_more_at_any_width() -> None:
    wide = nn.Sequential(nn.Conv2d(3, 512, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 700))
    program = capture(wide.eval(), (torch.randn(2, 3, 8, 8),)).program
    assert base_rate(program) == plain_rate(program) == 1e-3


def test_what_lost_much_takes_larger_steps_up_to_four_times() -> None:
    assert raised(1.0) == 1.0
    assert raised(0.7) == pytest.approx(10**0.3)
    assert raised(0.1) == raised(-1.0) == raised(float("nan")) == 4


def test_recovery_takes_the_default_unless_it_is_told() -> None:
    teacher, batches = digits_program(), digits_batches()
    student, base = damaged(teacher), base_rate(teacher)
    done = recover(student, teacher, batches, "4steps")
    assert base < done.rate <= base * raised(done.metric[0]), "batch statistics come first, and cost no rate"
    assert recover(student, teacher, batches, "4steps", settings=Settings(rate=0.002)).rate == 0.002


class Fading(nn.Module):
    """A layer that gives way to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("share", torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        lost: Tensor = self.second(self.first(x) * (1 - self.share))
        return lost


def test_damage_that_fades_in_does_not_raise_the_rate() -> None:
    program = capture(Fading().eval(), (torch.randn(2, 8),)).program
    student = capture(Fading().eval(), (torch.randn(2, 8),)).program
    batches = [{"x": torch.randn(4, 8)} for _ in range(6)]
    plain, fading = (
        recover(student, program, batches, "4steps", settings=Settings(ramps=ramps)) for ramps in ({}, {"share": 0.5})
    )
    assert fading.rate == base_rate(program) < plain.rate
