"""Sums of losses as they are written, and Minitron's balance."""

from __future__ import annotations

import pytest
import torch
from boards import board
from programs import text
from recovery import digits_batches, digits_program, vit

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.duo import Duo
from compressor.passes.recover.engine import Settings
from compressor.passes.recover.objective import PRESETS, Part, judging, parse_losses, resolve
from compressor.passes.recover.plan import make_plan
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.terms import FEATURES


def duo(student: Program, teacher: Program, batches: list[Batch], losses: str) -> Duo:
    return Duo(student, teacher, batches, batches, parse_losses(losses), Settings(), choose_place("cpu"), Ranks(), 32)


def test_sums_are_read() -> None:
    assert parse_losses("0.5*soft_ce + 0.3*last_cosine+task") == (
        Part("soft_ce", 0.5), Part("last_cosine", 0.3), Part("task", None),
    )  # fmt: skip
    assert parse_losses("auto") == ()
    assert "+".join(map(str, parse_losses("distilbert"))) == PRESETS["distilbert"]
    for preset in PRESETS:
        assert parse_losses(preset)


@pytest.mark.parametrize("losses", ["", "kl+", "2kl", "kld", "kl+1*", "-1*kl", "local", "0*kl", "0*kl+local"])
def test_what_is_no_sum_is_told(losses: str) -> None:
    with pytest.raises(RecipeError):
        parse_losses(losses)


def test_auto_looks_at_the_networks() -> None:
    program, batch = digits_program(), digits_batches()[0]
    assert "+".join(map(str, resolve((), make_plan(program, program, batch)))) == "output+hidden"
    tokens = torch.randint(0, 50, (4, 6))
    plan = make_plan(text(), text(), {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    assert {output.kind for output in plan.outputs} == {"tokens", "values"}
    deep = make_plan(vit(2), vit(4), {"input": torch.randn(4, 6, 5)})
    assert deep.shallower
    assert "+".join(map(str, resolve((), deep))) == "output+hidden"


def test_a_feature_loss_without_a_weight_counts_as_much_as_the_outputs() -> None:
    batch = digits_batches()
    both = duo(damaged_head(), digits_program(), batch, "kl+hidden")
    total, values = both.loss(batch[0])
    assert float(total.detach()) == pytest.approx(2 * values["kl"], rel=1e-4)
    weighted = duo(damaged_head(), digits_program(), batch, "kl+0.25*hidden")
    total, values = weighted.loss(batch[0])
    assert float(total.detach()) == pytest.approx(values["kl"] + 0.25 * values["hidden"], rel=1e-4)


def test_minitron_balances_against_the_logits_alone() -> None:
    batch = digits_batches()
    total, values = duo(damaged_head(), digits_program(), batch, "minitron").loss(batch[0])
    assert float(total.detach()) == pytest.approx(2 * values["output"] + values["task"], rel=1e-4)
    assert "hidden" in FEATURES


def test_the_three_terms_of_distilbert_add_up() -> None:
    batch = digits_batches()
    total, values = duo(damaged_head(), digits_program(), batch, "distilbert").loss(batch[0])
    expected = 0.5 * values["soft_ce"] + 0.3 * values["last_cosine"] + 0.2 * values["task"]
    assert float(total.detach()) == pytest.approx(expected, rel=1e-4)


def damaged_head() -> Program:
    from recovery import damaged

    return damaged(digits_program(), 0.3)


@pytest.mark.parametrize(
    ("text", "labelled", "expected"),
    [
        ("auto", True, [("output", 1.0)]),
        ("output+0.5*hidden", True, [("output", 1.0)]),
        ("ce", True, [("ce", 1.0)]),
        ("ce", False, [("output", 1.0)]),
        ("0.1*ce+0.9*kl", True, [("ce", 0.1), ("kl", 0.9)]),
        ("hidden", True, [("output", 1.0)]),
    ],
)
def test_a_state_is_judged_by_what_it_was_trained_for(
    text: str, labelled: bool, expected: list[tuple[str, float]]
) -> None:
    plan = make_plan(digits_program(), digits_program(), digits_batches()[0])
    assert judging(resolve(parse_losses(text), plan), plan, labelled=labelled) == expected


def test_pela_bounds_what_is_factorized_and_drops_the_bound_elsewhere() -> None:
    batches, teacher = digits_batches(), digits_program()
    cut = Factorize(amount=0.6, slower=True).run(teacher, Context(board())).program
    assert str(duo(damaged_head(), teacher, batches, "pela").parts[-1]) == "1*hidden"
    network = duo(cut, teacher, batches, "pela")
    total, values = network.loss(batches[0])
    assert "+".join(map(str, network.parts)) == "task+1*hidden+1*bound"
    assert values["bound"] > 0
    assert float(total.detach()) == pytest.approx(sum(values.values()), rel=1e-4)
    torch.autograd.backward(total)
    pairs = network.plan.pairs
    assert all(network.student.shared[pair.first].grad is not None for pair in pairs)
    assert pairs


def test_a_bound_asked_for_in_vain_is_refused() -> None:
    with pytest.raises(RecipeError, match="no layer of the student is two"):
        duo(damaged_head(), digits_program(), digits_batches(), "output+bound")
