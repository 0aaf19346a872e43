"""Which stretches go: what does the least harm, for what it saves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compressor.graph.program import Program
from compressor.passes.linearizing.importance import Gates, damage, greedy, learned, without
from compressor.passes.linearizing.prepare import apart, functional
from compressor.passes.linearizing.stretches import Stretch, find_stretches
from tests.per_kernel import context, images, trained

DATA = [{"x": x} for x, _ in images(16, 3)]
BATCH = {"x": torch.cat([batch["x"] for batch in DATA])}


@pytest.fixture(scope="module")
def folded() -> Program:
    return apart(functional(trained()), context())


@pytest.fixture(scope="module")
def stretches(folded: Program) -> tuple[Stretch, ...]:
    return find_stretches(folded, context()).stretches


def test_the_least_harmful_goes_first(folded: Program, stretches: tuple[Stretch, ...]) -> None:
    losses = {s.name: damage(folded, without(folded, folded, s, BATCH), BATCH) / s.gain for s in stretches}
    [first] = greedy(folded, stretches, 1, BATCH, context())
    single = [s.name for s in stretches if len(s.activations) == 1]
    assert first.name == min(single, key=losses.__getitem__)
    chosen = greedy(folded, stretches, 4, BATCH, context())
    assert sum(len(s.activations) for s in chosen) <= 4


def test_nothing_removed_does_no_harm(folded: Program) -> None:
    assert damage(folded, folded.copy(), BATCH) == pytest.approx(0, abs=1e-6)


def test_gates_are_pulled_down_by_what_they_save_and_to_their_ends() -> None:
    gates = Gates((("a", 0.3), ("b", 0.1)), left=0.25)
    open_, shut = ({"a": torch.tensor(v), "b": torch.tensor(1.0)} for v in (1.0, 0.0))
    assert gates(shut, 1.0) == 0.0
    assert gates(open_, 0.0) > gates(shut, 0.0)
    half = {"a": torch.tensor(0.0, requires_grad=True), "b": torch.tensor(0.5, requires_grad=True)}
    assert gates(half, 1.0) > gates(half, 0.0)


def test_gates_choose_as_many_as_are_wanted(folded: Program, stretches: tuple[Stretch, ...]) -> None:
    told = replace(context(), training=DATA)
    chosen = learned(folded, stretches, 3, "20steps", told)
    assert 1 <= sum(len(s.activations) for s in chosen) <= 3
    assert [s.name for s in chosen] == [s.name for s in learned(folded, stretches, 3, "20steps", told)]
