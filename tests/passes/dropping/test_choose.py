"""Ways to choose, on scores that are known."""

from __future__ import annotations

import pytest
import torch
from blocks import captured, transformer
from torch import Tensor, nn

from compressor.graph.contract import Progress
from compressor.graph.edit import begin, finish, set_tensor
from compressor.passes.dropping import choose
from compressor.passes.dropping.candidates import Candidate, candidates_of
from compressor.passes.dropping.choose import by_chance, from_the_end, greedy, influence, least
from compressor.passes.recover.judge import Judge


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


def test_greedy_stops_where_all_that_is_left_is_a_part_of_what_went() -> None:
    program = transformer(2)
    batch = {program.inputs[0].name: torch.randn(4, 6, 5)}
    whole = candidates_of(program, "block")[0][0]
    part = Candidate("layers.0.mlp", "mlp", whole.block, whole.block.branches[1])
    gone, damages = greedy(program, [whole, part], 2, Judge(program, [batch]), Progress())
    assert len(gone) == len(damages) == 1


@pytest.mark.parametrize(("factor", "worth"), [(-2.0, 2.0), (0.0, 0.0), (3.0, 0.0)])
def test_influence_of_a_turned_stream(factor: float, worth: float) -> None:
    """x + factor · x: a cosine of −1 or 1."""

    class Turn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4, bias=False)
            self.linear.weight.data = factor * torch.eye(4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.linear(x)

    program = captured(nn.Sequential(Turn(), Turn()), torch.randn(2, 3, 4))
    found, _ = candidates_of(program, "block")
    batches = [{program.inputs[0].name: torch.randn(rows, 3, 4)} for rows in (2, 5)]
    assert influence(program, found, batches) == pytest.approx([worth] * 2, abs=1e-6)
    assert from_the_end(found, 2) == found


def test_what_greedy_took_first_is_exchanged_where_another_pair_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone the first is missed least, but the second and the third together less than any pair with it."""
    program = transformer(4)
    found, _ = candidates_of(program, "block")
    missed = {(0,): 1.0, (0, 1): 5.0, (0, 2): 4.0, (0, 3): 6.0, (1, 2): 3.0, (1, 3): 7.0, (2, 3): 8.0}

    class Told:
        def damage(self, gone: tuple[int, ...]) -> float:
            return missed.get(gone, 2.0)

    def places(_: object, gone: list[Candidate]) -> tuple[int, ...]:
        return tuple(sorted(found.index(each) for each in gone))

    monkeypatch.setattr(choose, "without", places)
    gone, damages = greedy(program, found, 2, Told(), Progress())  # type: ignore[arg-type]
    assert sorted(each.site for each in gone) == [found[1].site, found[2].site]
    assert damages == [3.0, 3.0]
