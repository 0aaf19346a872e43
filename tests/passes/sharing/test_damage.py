"""Damage: nothing for the same program, the divergence of scores, the relative error of values."""

from __future__ import annotations

import pytest
import torch
from sharing_nets import deep_gpt
from tiny import text_batches
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.edit import set_tensor
from compressor.passes.sharing.damage import Judge


def test_scores_by_their_divergence() -> None:
    program, batches = deep_gpt(), text_batches(2, 4)
    judge = Judge(program, batches)
    assert judge.damage(program) == pytest.approx(0.0, abs=1e-7)
    other = program.copy()
    set_tensor(other, "head.weight", program.get("head.weight").detach() * 0.5)
    exact, ours = (torch.cat([next(iter(p.run(b).values())) for b in batches]) for p in (program, other))
    kl = nn.functional.kl_div(ours.log_softmax(-1), exact.log_softmax(-1), log_target=True, reduction="none")
    assert judge.damage(other) == pytest.approx(float(kl.sum(-1).mean()), rel=1e-4)


def test_values_by_their_relative_error() -> None:
    program = capture(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 64)), (torch.randn(2, 8),)).program
    half = program.copy()
    for name in ("2.weight", "2.bias"):
        set_tensor(half, name, program.get(name).detach() * 0.5)
    batch = dict(zip((spec.name for spec in program.inputs), program.example, strict=True))
    assert Judge(program, [batch]).damage(half) == pytest.approx(0.25, rel=1e-5)


def test_without_data_there_is_none() -> None:
    assert Judge(deep_gpt(), []).damage(deep_gpt()) == 0.0
