"""Trials: outputs with some calls replaced, wherever the batches are by then, and how far they are from the exact."""

from __future__ import annotations

import pytest
import torch
from narrow_nets import linear_net, net_batches
from torch import Tensor, fx

from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.reading.trials import Call, Damage, Trials

linear = torch.ops.aten.linear.default


@pytest.fixture
def program() -> Program:
    return functional_copy(linear_net())[0]


def layers(program: Program) -> list[fx.Node]:
    return [node for node in program.nodes() if node.target is linear]


def halved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    result: Tensor = linear(x, weight / 2, bias)
    return result


def test_a_replaced_call_gives_what_the_changed_network_gives(program: Program) -> None:
    batches, node = net_batches(32), layers(program)[-1]
    trials = Trials(program, batches)
    trials.advance([node])
    calls: dict[fx.Node, Call] = {node: halved}
    [[ours]] = trials.outputs_with(calls)
    copy = program.copy()
    copy.module.get_submodule("head").weight = torch.nn.Parameter(program.get("head.weight").detach() / 2)
    [wanted] = copy.run(batches[0]).values()
    torch.testing.assert_close(ours, wanted)
    [exact] = program.run(batches[0]).values()
    damage = trials.damage([[ours]])
    assert damage.error == pytest.approx(float((wanted - exact).norm() / exact.norm()), rel=1e-4)
    assert damage.divergence is None, "32 rows of scores are few"


def test_what_is_behind_already_is_run_anew(program: Program) -> None:
    first, *_, last = layers(program)
    fresh, late = Trials(program, net_batches(32)), Trials(program, net_batches(32))
    late.advance([last])
    [wanted], [ours] = (trials.outputs_with({first: halved}) for trials in (fresh, late))
    torch.testing.assert_close(ours, wanted)
    assert late.damage([ours]).error > 0.01


def test_nothing_replaced_is_no_damage(program: Program) -> None:
    trials = Trials(program, net_batches(32))
    assert trials.damage(trials.outputs_with({})) == Damage(0.0)


def test_what_adds_up_is_the_divergence_where_there_is_one() -> None:
    assert Damage(0.5).additive == 0.25
    assert Damage(0.5, 0.1).additive == 0.1
