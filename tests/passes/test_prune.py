"""The prune pass on a trained network: half the work, the accuracy kept, and every refusal explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from boards import board
from decoders import VOCABULARY, llama, program_of
from recovery import accuracy, digits_batches, digits_program

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.kv_cache import going_on, with_past
from compressor.passes.prune import WAYS, Prune
from compressor.passes.pruning.choose import Where

BOARD = board()
CONTEXT = Context(BOARD, latency=Roofline(), calibration=digits_batches(), synthetic=False)


@pytest.mark.parametrize("where", ["uniform", "global", "latency"])
def test_half_the_work_at_nearly_the_accuracy(where: Where) -> None:
    program = digits_program()
    result = Prune(amount=0.5, where=where, score="taylor-element1").run(program, CONTEXT)
    before, after = (Roofline().predict(p, BOARD) for p in (program, result.program))
    assert after.macs <= 0.5 * before.macs
    assert after.latency_ms < before.latency_ms
    assert result.program.unique_bytes() < 0.8 * program.unique_bytes()
    assert accuracy(result.program) > accuracy(program) - 0.03
    assert "stem.0.weight" in result.changed or where != "uniform"


def test_its_settings_do_the_same_again() -> None:
    program = digits_program()
    first = Prune(amount=0.4).run(program, CONTEXT)
    again = Prune(sites=first.settings).run(program, CONTEXT)
    assert again.program.hash() == first.program.hash()
    assert again.settings == first.settings


def test_without_data_it_prunes_by_weights_and_does_not_reconstruct() -> None:
    context = replace(CONTEXT, calibration=())
    result = Prune(amount=0.3).run(digits_program(), context)
    assert result.program.parameters() < digits_program().parameters()


def test_what_stays_is_told() -> None:
    result = Prune(amount=0.3, keep=("stem.*",)).run(digits_program(), CONTEXT)
    reasons = {skip.site: skip.reason for skip in result.skipped}
    assert reasons["stem.0"] == "you asked to keep it"
    assert "model's output" in reasons["head.3.weight"]
    assert "stem.0.weight" not in result.changed


def test_an_amount_out_of_reach_is_said() -> None:
    result = Prune(amount=0.95, least=0.5).run(digits_program(), CONTEXT)
    assert any("of its MACs could go, not 95%" in skip.reason for skip in result.skipped)


def test_everything_kept_changes_nothing() -> None:
    result = Prune(keep=("*",)).run(digits_program(), CONTEXT)
    assert result.changed == ()
    assert any(skip.reason == "nothing in it can be removed" for skip in result.skipped)


def test_options_carry_their_three_numbers() -> None:
    program = digits_program()
    options = list(Prune(score="magnitude").options(program, CONTEXT))
    stem = [option for option in options if option.site == "stem.0"]
    assert len(stem) >= 3
    assert all(option.bytes < program.unique_bytes() for option in options)
    latencies = [option.latency_ms for option in stem if option.latency_ms is not None]
    assert sorted(latencies, reverse=True) == latencies
    assert len(latencies) == len(stem)
    assert [option.damage for option in stem] == sorted(option.damage or 0.0 for option in stem)
    again = Prune(sites={"stem.0": stem[0].setting}, reconstruct=False).run(program, CONTEXT)
    assert again.program.unique_bytes() == stem[0].bytes


@pytest.mark.parametrize("options", [{"amount": 0.0}, {"amount": 1.0}, {"least": 2.0}, {"samples": 0}])
def test_numbers_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))):
        Prune(**options)  # type: ignore[arg-type]


def test_settings_that_leave_nothing() -> None:
    program = digits_program()
    [option, *_] = list(Prune(score="magnitude").options(program, CONTEXT))
    with pytest.raises(RecipeError, match="leave an axis empty"):
        Prune(sites={option.site: {"remove": "0-31"}}).run(program, CONTEXT)


def test_an_unknown_site_is_skipped_with_a_reason() -> None:
    result = Prune(sites={"nowhere": {"remove": "0"}}).run(digits_program(), CONTEXT)
    assert result.changed == ()
    assert [skip.site for skip in result.skipped] == ["nowhere"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"every": 0}, "every is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"rate": 0.0}, "rate is 0"),
        ({"between": "soon"}, "'soon' is not a budget"),
        ({"between": "1min"}, "differs from run to run"),
    ],
)
def test_ways_of_training_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Prune(**options)


def test_only_ways_that_train_on_the_data_want_it() -> None:
    wanting = {how for how in WAYS if Prune(how=how).learns()}
    assert wanting == {"iterative", "alternating", "gradual", "masks"}
    assert not Prune(how="gradual", sites={"stem.0": {"remove": "0"}}).learns()


def test_settings_decide_whatever_way_is_named() -> None:
    sites = Prune(amount=0.3).run(digits_program(), CONTEXT).settings
    told = Prune(how="masks", sites=sites).run(digits_program(), CONTEXT)
    assert told.settings == sites


def test_a_way_that_trained_leaves_its_options_to_the_recipe() -> None:
    prune = Prune(amount=0.3, how="iterative", between="2steps")
    first, again = (prune.run(digits_program(), CONTEXT) for _ in range(2))
    assert first.settings == {}
    assert again.program.hash() == first.program.hash()


def test_a_decoder_is_pruned_around_its_cache() -> None:
    program = program_of(llama(layers=1))
    ids = torch.randint(1, VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(3))
    batch = with_past(program.inputs, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    result = Prune(amount=0.2, score="taylor-element1").run(program, replace(CONTEXT, calibration=[batch]))
    assert "model.layers.0.mlp.up_proj.weight" in result.changed
    assert (result.program.inputs, result.program.outputs) == (program.inputs, program.outputs), "the heads stay"
    assert any("self_attn" in skip.site for skip in result.skipped)
    whole = result.program.run(batch)["logits"]
    after = result.program.run(going_on(result.program, batch, 7))["logits"]
    torch.testing.assert_close(after, whole[:, 7:], rtol=1e-4, atol=1e-4)
