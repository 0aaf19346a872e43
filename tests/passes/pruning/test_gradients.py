"""Taylor scores against the formula worked out with autograd on the original module."""

from __future__ import annotations

import pytest
import torch
from programs import text
from recovery import digits_batches, digits_program
from torch import Tensor
from torch.nn import functional

from compressor.graph.contract import Progress
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.passes.pruning.gradients import disturbed, pieces, taylor

QUIET = Progress()


@pytest.fixture(scope="module")
def dimensions() -> Dimensions:
    return analyse(digits_program())


@pytest.mark.parametrize("kind", ["vector", "element-1", "element-2"])
def test_taylor_is_the_formula(dimensions: Dimensions, kind: str) -> None:
    program, batches = dimensions.program, digits_batches(8)[:3]
    dimension = dimensions.dimensions[0]
    unit = dimension.units[3]
    names = [s.tensor for s in dimensions.slices[unit]]
    weights = {n: program.get(n).detach().clone().requires_grad_() for n in names if program.get(n).requires_grad}
    gradients: list[dict[str, Tensor]] = []
    for batch in batches:
        [scores] = torch.func.functional_call(program.module, weights, program.flatten(batch))
        loss = functional.cross_entropy(scores, scores.detach().argmax(1))
        found = torch.autograd.grad(loss, list(weights.values()))
        gradients.append(dict(zip(weights, found, strict=True)))
    signed = total = 0.0
    for s in dimensions.slices[unit]:
        if s.tensor not in weights:
            continue
        weight, mean = weights[s.tensor].detach(), sum(g[s.tensor] for g in gradients) / len(gradients)
        fisher = 8 * sum(g[s.tensor].square() for g in gradients) / len(gradients)
        first = mean * weight - (0.5 * fisher * weight.square() if kind == "element-2" else 0.0)
        part = first.index_select(s.axis, torch.from_numpy(s.rows))
        signed, total = signed + float(part.sum()), total + float(part.abs().sum())
    expected = abs(signed) if kind == "vector" else total
    assert taylor(dimensions, batches, kind, QUIET)[unit] == pytest.approx(expected, rel=1e-3)


def test_labels_are_used_where_there_are_some(dimensions: Dimensions) -> None:
    batch = digits_batches(4)[0]
    wrong = {**batch, "labels": torch.zeros(4, dtype=torch.int64)}
    assert taylor(dimensions, [batch], "element-1", QUIET) != taylor(dimensions, [wrong], "element-1", QUIET)


def test_disturbed_needs_no_labels_and_is_not_zero(dimensions: Dimensions) -> None:
    scores = disturbed(dimensions, digits_batches(32)[:2], 0, QUIET)
    assert set(scores) >= set(dimensions.slices)
    assert min(scores[unit] for unit in dimensions.slices) > 0
    assert scores == disturbed(dimensions, digits_batches(32)[:2], 0, QUIET)


def test_a_language_model_is_scored_by_its_own_text() -> None:
    program = text()
    dimensions = analyse(program)
    batch = {spec.name: value for spec, value in zip(program.inputs, program.example, strict=True)}
    assert any(score > 0 for score in taylor(dimensions, [batch], "element-1", QUIET).values())


def test_pieces_cut_a_dynamic_batch() -> None:
    program = digits_program()
    [batch] = digits_batches(256)
    assert [len(piece["x"]) for piece in pieces(program, [{"x": batch["x"][:10]}])] == [8, 2]
