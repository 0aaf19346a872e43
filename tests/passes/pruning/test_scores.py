"""Scores by name: what each ranks by, and the refusal without data."""

from __future__ import annotations

import pytest
import torch
from programs import conv
from recovery import digits_batches, digits_program, vit
from tiny import text_batches, tiny_gpt

from compressor.errors import RecipeError
from compressor.graph.contract import Progress
from compressor.graph.dimensions.groups import analyse
from compressor.passes.pruning.scores import Score, Scorer, chosen_score

NAMES: list[Score] = [
    "random", "magnitude", "batchnorm", "taylor-vector", "taylor-element1", "taylor-element2", "wanda", "activation",
    "disturbed",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_gets_a_score(name: Score) -> None:
    dimensions = analyse(digits_program())
    scores = Scorer(name, digits_batches(32)[:2], 0, Progress()).of(dimensions)
    assert set(dimensions.slices) <= set(scores)
    assert len({scores[unit] for unit in dimensions.dimensions[0].units}) > 1


def test_magnitude_prefers_the_larger_weights() -> None:
    program = conv()
    dimensions = analyse(program)
    [dimension] = dimensions.dimensions
    scores = Scorer("magnitude", (), 0, Progress()).of(dimensions)
    tensors = {"conv.weight": 0, "norm.weight": 0, "norm.bias": 0, "head.weight": 1}
    size = {
        unit: sum(float(program.get(t).detach().select(a, i).square().sum()) for t, a in tensors.items())
        for i, unit in enumerate(dimension.units)
    }
    assert sorted(size, key=size.__getitem__) == sorted(size, key=scores.__getitem__)


def test_batch_norm_is_its_gain() -> None:
    program = conv()
    program.get("norm.weight").data[5] = 40.0
    dimensions = analyse(program)
    [dimension] = dimensions.dimensions
    scores = Scorer("batchnorm", (), 0, Progress()).of(dimensions)
    assert max(dimension.units, key=scores.__getitem__) == dimension.units[5]


def test_batch_norm_scores_need_one() -> None:
    with pytest.raises(RecipeError, match="there is no batch norm"):
        Scorer("batchnorm", (), 0, Progress()).of(analyse(vit(2)))


def test_random_is_seeded() -> None:
    dimensions = analyse(conv())
    one, same, other = (Scorer("random", (), seed, Progress()).of(dimensions) for seed in (0, 0, 1))
    assert one == same != other


def test_a_score_that_needs_data_says_so() -> None:
    with pytest.raises(RecipeError, match="score wanda needs data"):
        Scorer("wanda", (), 0, Progress()).of(analyse(conv()))


def test_the_choice_depends_on_data_and_on_the_kind_of_network() -> None:
    depthwise, plain, transformer = analyse(digits_program()), analyse(conv()), analyse(vit(2))
    data = digits_batches(32)
    assert chosen_score(depthwise, ()) == chosen_score(plain, ()) == chosen_score(transformer, ()) == "magnitude"
    [own] = [spec.name for spec in transformer.program.inputs]
    assert chosen_score(transformer, [{own: torch.randn(4, 6, 5)}]) == "disturbed"
    assert chosen_score(analyse(tiny_gpt()), text_batches()) == "taylor-element1"
    images = [dict(zip((spec.name for spec in plain.program.inputs), plain.program.example, strict=True))]
    assert chosen_score(plain, images) == "magnitude"
    assert chosen_score(plain, images, comparable=True) == "disturbed"
    assert chosen_score(depthwise, data) == chosen_score(depthwise, data, comparable=True) == "taylor-element2"
