"""Ways to choose, on scores that are known."""

from __future__ import annotations

import torch
from blocks import transformer

from compressor.graph.contract import Progress
from compressor.graph.edit import begin, finish, set_tensor
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.dropping.choose import by_chance, from_the_end, greedy, influence, least
from compressor.passes.dropping.judge import Judge


def test_least_the_end_and_chance() -> None:
    found, _ = candidates_of(transformer(4), "block")
    assert least(found, [3.0, 1.0, 2.0, 1.0], 2) == [found[1], found[3]]
    assert from_the_end(found, 2) == found[1:3]
    assert by_chance(found, 2, 0) == by_chance(found, 2, 0)


def test_influence_is_one_less_the_cosine() -> None:
    program = begin(transformer(3))
    for name, value in program.tensors().items():
        if name.startswith("layers.1.") and (".out." in name or ".mlp.2." in name):
            set_tensor(program, name, torch.zeros_like(value))
    done = finish(program)
    batch = {done.inputs[0].name: torch.randn(4, 6, 5)}
    blocks = influence(done, candidates_of(done, "block")[0], [batch])
    assert abs(blocks[1]) < 1e-6 < min(blocks[0], blocks[2])
    branches = influence(done, candidates_of(done, "any")[0], [batch])
    assert max(abs(branches[2]), abs(branches[3])) < 1e-6


def test_greedy_tells_the_damage_after_each() -> None:
    program = transformer(4)
    batch = {program.inputs[0].name: torch.randn(4, 6, 5)}
    found, _ = candidates_of(program, "any")
    judge = Judge(program, [batch])
    gone, damages = greedy(program, found, 3, judge, Progress())
    assert len(gone) == len(damages) == 3
    assert all(damage > 0 for damage in damages)
