"""What is compared, and which input marks padding."""

from __future__ import annotations

import torch
from programs import text
from recovery import digits_batches, digits_program

from compressor.graph.edit import argument
from compressor.passes.recover.plan import make_plan, padding, tokens_of


def test_padding_is_the_matrix_that_no_table_is_looked_up_with() -> None:
    program = text()
    ids = torch.ones(2, 5, dtype=torch.long)  # zeros and ones, too, but looked up
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert padding(program, batch) == "attention_mask"
    assert padding(program, {**batch, "attention_mask": ids * 7}) is None
    assert tokens_of(program, batch) is ids
    assert padding(digits_program(), digits_batches()[0]) is None
    assert tokens_of(digits_program(), digits_batches()[0]) is None


def test_a_plan_of_a_network_and_itself() -> None:
    program = digits_program()
    plan = make_plan(program, program, digits_batches()[0])
    assert plan.feeds == ("x",)
    assert [pair.name for pair in plan.points] == ["first", "second"]
    assert plan.taps(ours=True) == [pair.ours for pair in plan.points]
    assert plan.alike
    assert not plan.shallower
    assert plan.mask is None


def test_attention_is_tapped_at_its_inputs() -> None:
    from compressor.passes.recover.points import attention_of

    program = text()
    ids = torch.randint(0, 50, (2, 6))
    plan = make_plan(program, program, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    [node] = attention_of(program).values()
    assert plan.taps(ours=False)[-3:] == [argument(node, name) for name in ("query", "key", "value")]
    assert plan.mask == "attention_mask"
