"""Terms on two captured networks: what each compares, and what it says when there is nothing to compare."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recovery import digits_batches, digits_program, vit
from torch import nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.losses.relations import relation
from compressor.passes.recover.plan import Plan, Seen, make_plan
from compressor.passes.recover.terms import FEATURES, TERMS, build_term
from compressor.passes.recover.trainee import Trainee

CPU = choose_place("cpu")


def look(student: Program, teacher: Program, batch: Batch) -> tuple[Plan, Seen]:
    plan = make_plan(student, teacher, batch)
    with torch.no_grad():
        ours = Trainee(student, CPU, taps=plan.taps(ours=True)).training(*student.flatten(batch))
        theirs = Trainee(teacher, CPU, taps=plan.taps(ours=False)).training(*teacher.flatten(batch))
    pairs, points = tuple(zip(ours[1:], theirs[1:], strict=True)), len(plan.points)
    return plan, Seen((ours[0],), (theirs[0],), pairs[:points], pairs[points:], labels=batch.get("labels"))


@pytest.fixture(scope="module")
def transformers() -> tuple[Plan, Seen]:
    torch.manual_seed(0)
    return look(vit(3, 8, seed=1), vit(3, 12), {"input": torch.randn(16, 6, 5)})


@pytest.fixture(scope="module")
def digits() -> tuple[Plan, Seen]:
    return look(digits_program(), digits_program(), digits_batches(labels=True)[0])


@pytest.mark.parametrize("name", TERMS)
def test_every_term_is_a_number_a_sample_with_gradients_to_its_adapters(digits: tuple[Plan, Seen], name: str) -> None:
    plan, seen = digits
    if name.startswith(("relation", "bound")):
        with pytest.raises(RecipeError, match=r"no attention|no layer of the student is two"):
            build_term(name, plan, lambda: [seen])
        return
    term = build_term(name, plan, lambda: [seen])
    loss = term(seen)
    assert loss.shape == (32,)
    assert bool((loss >= -1e-5).all())
    if name in (*FEATURES, "output", "kl", "mse", "cosine") and name != "branches":
        assert float(loss.detach().abs().max()) < 1e-4, "a network does not differ from itself"


def test_adapters_make_widths_comparable(transformers: tuple[Plan, Seen]) -> None:
    plan, seen = transformers
    term = build_term("hidden", plan, lambda: [seen])
    shapes = [tuple(p.shape) for name, p in term.named_parameters() if name.endswith("weight")]
    assert shapes == [(12, 8)] * 3
    assert float(term(seen).detach().mean()) < 1.0, "better than predicting zero from the start"


def test_the_last_point_alone(transformers: tuple[Plan, Seen]) -> None:
    plan, seen = transformers
    term = build_term("last_cosine", plan, lambda: [seen])
    assert len(list(term.parameters())) == 2


def test_relations_are_the_mean_over_layers_and_over_q_k_v(transformers: tuple[Plan, Seen]) -> None:
    plan, seen = transformers
    expected = torch.stack([relation(a, b).mean(1) for a, b in seen.attention]).mean(0)
    assert len(seen.attention) == 9
    torch.testing.assert_close(build_term("relation", plan, lambda: [seen])(seen), expected)


def test_other_resolutions_are_compared_by_their_means() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.Flatten(), nn.Linear(6, 10))
    student = capture(network, (torch.randn(2, 1, 8, 8),)).program
    batch = digits_batches()[0]
    plan, seen = look(student, digits_program(), {student.inputs[0].name: batch["x"], "x": batch["x"]})
    assert build_term("hidden", plan, lambda: [seen])(seen).shape == (32,)


def test_task_takes_labels_else_the_teachers_best(digits: tuple[Plan, Seen]) -> None:
    plan, seen = digits
    unlabelled = replace(seen, labels=None)
    torch.testing.assert_close(
        build_term("task", plan, lambda: [seen])(seen), build_term("task", plan, lambda: [unlabelled])(unlabelled)
    )  # these labels are the teacher's best
    with pytest.raises(RecipeError, match="no labels"):
        build_term("ce", plan, lambda: [unlabelled])


def test_values_have_no_scores(transformers: tuple[Plan, Seen]) -> None:
    plan, seen = transformers
    for name in ("kl", "soft_ce", "task", "branches"):
        with pytest.raises(RecipeError, match="no output holds class scores"):
            build_term(name, plan, lambda: [seen])
