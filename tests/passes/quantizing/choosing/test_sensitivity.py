"""Sensitivity: outputs are what is compared, formats rank as they should, and the numbers are the pass's own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from boards import board
from narrow_nets import digits, linear_net, net_batches
from programs import text
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.candidates import find_candidates
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.choosing.sensitivity import Sensitivity, measure_sensitivity, measure_together, ranked
from compressor.passes.quantizing.codes.rounding import NEAREST
from compressor.passes.quantizing.sites import find_layers

LIMITS = Limits(static=False, calibrator="minmax", percentile=99.99, samples=64, max_error=0.04)


def measured(source: Program, batches: Sequence[dict[str, Tensor]] = (), **more: object) -> list[Sensitivity]:
    program, _ = functional_copy(source)
    candidates = find_candidates(program, Context(board()), LIMITS, (32,), lambda _: NEAREST)
    return measure_sensitivity(program, candidates.groups, candidates.options, batches, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> list[Sensitivity]:
    return measured(linear_net(), net_batches(32))  # type: ignore[arg-type]


def test_the_error_is_that_of_the_pass_at_that_site(found: list[Sensitivity]) -> None:
    [batch] = net_batches(32)
    [exact] = linear_net().run(batch).values()
    each = next(each for each in found if (each.layer, each.format) == ("up", "int2"))
    [ours] = (
        Quantize(sites={"up": each.candidate.setting}).run(linear_net(), Context(board())).program.run(batch).values()
    )
    assert each.error == pytest.approx(float((ours - exact).norm() / exact.norm()), rel=1e-4)
    assert each.divergence is None, "32 rows of scores are few"
    assert each.damage == each.error**2
    assert each.saved == 4 * 256 * 128 - each.bytes


def test_fewer_bits_hurt_more_in_every_layer(found: list[Sensitivity]) -> None:
    for name in ("first", "second", "up", "down", "head"):
        errors = {each.format: each.error for each in found if each.layer == name}
        assert errors["fp32"] == 0.0
        assert errors["int8"] < errors["int4"] < errors["int2"]


def test_ranked_is_by_damage_without_float(found: list[Sensitivity]) -> None:
    order = ranked(found)
    assert all(one.damage >= two.damage for one, two in itertools.pairwise(order))
    assert {each.format for each in order}.isdisjoint({"fp32"})
    assert order[0].format in ("int2", "ternary")


def test_a_judge_sees_every_batch_of_each_swap() -> None:
    def confidence(outputs: Sequence[Sequence[Tensor]]) -> float:
        scores = torch.cat([scores for [scores] in outputs])
        assert len(scores) == 100
        return float(scores.softmax(1)[torch.arange(100), digits()[2][:100]].mean())

    batches = [{"x": part} for part in digits()[1][:100].split(50)]
    found = measured(linear_net(), batches, judge=confidence)
    values = {(each.layer, each.format): each.metric for each in found}
    assert values[("first", "fp32")] == values[("head", "fp32")]
    assert all(value is not None and 0.0 <= value <= 1.0 for value in values.values())
    assert values[("first", "int2")] != values[("first", "fp32")]


def test_without_data_it_is_the_weights_error() -> None:
    found = measured(linear_net())
    weight = linear_net().get("up.weight")
    each = next(each for each in found if (each.layer, each.format) == ("up", "int8"))
    assert 0.0 < each.error < 0.01
    assert each.divergence is None
    assert each.damage == each.error**2
    assert each.bytes == weight.numel() + 4 * len(weight)


def test_many_rows_of_scores_are_compared_as_distributions() -> None:
    batch = {"x": digits()[0][:300]}
    [exact] = linear_net().run(batch).values()
    each = next(each for each in measured(linear_net(), [batch]) if (each.layer, each.format) == ("up", "int2"))
    [ours] = (
        Quantize(sites={"up": each.candidate.setting}).run(linear_net(), Context(board())).program.run(batch).values()
    )
    wanted, given = exact.log_softmax(1), ours.log_softmax(1)
    assert each.divergence == pytest.approx(float((wanted.exp() * (wanted - given)).sum(1).mean()), rel=1e-3)
    assert each.damage == each.divergence


def test_several_outputs_and_a_tied_table() -> None:
    found = measured(text(), [dict(zip(("input_ids", "attention_mask"), text().example, strict=True))])
    assert all(each.error > 0.0 for each in found if each.format == "int8")


def test_together_they_do_about_what_they_do_alone(found: list[Sensitivity]) -> None:
    program, _ = functional_copy(linear_net())
    layers = find_layers(program)[0]
    fours = {each.layer: each for each in found if each.format == "int4"}
    settings = {name: each.candidate.setting for name, each in fours.items()}
    whole = measure_together(program, layers, settings, net_batches(32))
    assert whole == pytest.approx(sum(each.damage for each in fours.values()), rel=0.8)


def test_in_place_operators_that_stay_do_not_leak_from_one_swap_into_the_next() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            y.view(-1)[::2].add_(1.0)
            result: Tensor = self.two(y)
            return result

    torch.manual_seed(0)
    program = capture(Writes(), (torch.randn(4, 32),)).program
    batch = {program.inputs[0].name: torch.randn(4, 32)}
    once, again = measured(program, [batch]), measured(program, [batch, batch])
    assert [each.error for each in once] == pytest.approx([each.error for each in again])
