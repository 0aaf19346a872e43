"""Units change places, and the outputs do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from decoders import llama, program_of, texts
from programs import conv
from recovery import digits_batches, digits_program, vit
from torch import Tensor

from compressor.graph.contract import Batch, Context
from compressor.graph.dimensions.groups import analyse
from compressor.graph.program import Program
from compressor.passes.nesting.order import ordered
from compressor.passes.pruning.choose import Chooser, Ranked
from compressor.passes.pruning.job import prepared
from compressor.targets import load_target


def ranked(program: Program, batches: Sequence[Batch] = ()) -> Ranked:
    chooser = Chooser("random", "uniform", 1, 0.0, ())
    return chooser.ranked(analyse(prepared(program)), batches, Context(load_target("x86-64")))


def every(found: Ranked) -> set[str]:
    return {one.dimension.name for one in found.ladders}


def check(program: Program, batches: Sequence[Batch] = ()) -> Ranked:
    before = ranked(program, batches)
    after = ordered(before, every(before), batches)
    assert {one.dimension.name for one in after.ladders} == every(before) != set()
    old, new = (found.dimensions.program for found in (before, after))
    batch = batches[0] if batches else None
    for name, value in old.run(batch).items():
        torch.testing.assert_close(new.run(batch)[name], value, atol=1e-4, rtol=1e-4)
    assert any(not torch.equal(value, new.get(name)) for name, value in old.tensors().items())
    return after


@pytest.mark.parametrize("make", [digits_program, lambda: vit(2), conv])
def test_outputs_stay_and_the_least_are_last(make: object) -> None:
    after = check(make())  # type: ignore[operator]
    for one in after.ladders:
        assert one.order == tuple(reversed(one.dimension.units)), one.dimension.name


def test_a_decoder_whose_positions_turn_its_heads() -> None:
    batch: dict[str, Tensor] = texts("input_ids", 2)
    check(program_of(llama()), [{**batch, "attention_mask": torch.ones_like(batch["input_ids"])}])


def test_only_what_is_asked_for_moves() -> None:
    before = ranked(vit(1))
    after = ordered(before, {"1.0.ffn.1"}, [])
    assert every(after) == {"1.0.ffn.1"}
    old, new = (found.dimensions.program for found in (before, after))
    moved = {name for name, value in old.tensors().items() if not torch.equal(value, new.get(name))}
    assert moved == {"1.0.ffn.1.weight", "1.0.ffn.1.bias", "1.0.ffn.3.weight"}


def test_what_cannot_be_moved_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.passes.nesting.order._same", lambda before, after: False)
    before = ranked(digits_program(), digits_batches())
    after = ordered(before, every(before), digits_batches())
    assert after.dimensions is before.dimensions
    assert [one.order for one in after.ladders] == [one.order for one in before.ladders]
