"""What the checks of shared weights are made of: as many parameters in both arms, and masks of the size asked for."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import torch
from claims.sharing import SAFE, WIDTH
from claims.vision import Small, program_of

from compressor.passes.sharing.slots import in_slots


def test_one_mlp_of_the_wider_network_makes_up_for_an_mlp_a_block() -> None:
    assert 6 * 12 * WIDTH**2 == 6 * 4 * SAFE**2 + 8 * SAFE**2


def test_slots_take_as_much_less_as_they_say() -> None:
    torch.manual_seed(0)
    program = program_of(Small())
    done = in_slots(program, 50.0, 0, ())
    layers = sum(program.get(name).numel() for name in done.changed)
    assert layers > 0.9 * program.parameters()
    assert program.parameters() - done.program.parameters() > 0.97 * layers
