"""Gates that change nothing when open, and close for what the outputs do not miss, even where scales do not matter."""

from __future__ import annotations

import pytest
import torch
from blocks import captured, transformer
from torch import nn

from compressor.graph.blocks import find_blocks
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.drop import Drop
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.dropping.gates import LOG_ALPHA, NOISE, OPEN, Chance, Pressure, gated, learned_gates, savings
from compressor.passes.recover.judge import Judge
from compressor.targets.loader import load_target


def context(program: Program, batches: int = 6) -> Context:
    generator = torch.Generator().manual_seed(3)
    shape, name = program.example[0].shape[1:], program.inputs[0].name
    data: list[Batch] = [{name: torch.randn(16, *shape, generator=generator)} for _ in range(batches)]
    return Context(load_target("host"), latency=Roofline(), calibration=data, training=data, synthetic=False)


def weakened(program: Program, *blocks: str) -> Program:
    copy = begin(program)
    for name, value in program.tensors().items():
        if name.startswith(blocks) and (".out." in name or ".mlp.2." in name):
            set_tensor(copy, name, value.detach() * 1e-2)
    return finish(copy)


@pytest.mark.parametrize("form", ["pre", "post", "parallel"])
def test_open_gates_change_nothing_and_closed_ones_drop(form: str) -> None:
    program = transformer(3, form)
    found, _ = candidates_of(program, "any")
    student = gated(program, found)
    [before], [after] = program.run().values(), student.run().values()
    torch.testing.assert_close(after, before)
    closed = begin(student)
    log_alpha = student.get(LOG_ALPHA).detach().clone()
    log_alpha[2] = -OPEN
    set_tensor(closed, LOG_ALPHA, log_alpha)
    [shut] = finish(closed).run().values()
    [gone] = (
        Drop(sites={found[2].site: {"unit": found[2].unit}})
        .run(program, Context(load_target("host")))
        .program.run()
        .values()
    )
    torch.testing.assert_close(shut, gone)


def test_layers_without_a_stream_have_gates_too() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4)))
    program = captured(net, torch.randn(2, 8))
    [chain] = find_blocks(program)
    assert not chain.residual
    student = gated(program, candidates_of(program, "block")[0])
    [before], [after] = program.run().values(), student.run().values()
    torch.testing.assert_close(after, before)


def test_the_gates_of_what_is_not_missed_close() -> None:
    program = weakened(transformer(4), "layers.1.", "layers.2.")
    given = context(program)
    found, _ = candidates_of(program, "block")
    gates = learned_gates(program, found, 2, 50, Judge(program, given.calibration), given)
    assert max(gates[1], gates[2]) < 0.3
    assert min(gates[0], gates[3]) > 0.7
    result = Drop(0.5, by="gates", steps=50).run(program, given)
    assert set(result.settings) == {"layers.1", "layers.2"}
    assert result.notes[0].startswith("the gates learned: layers.0 ")


def scaled(program: Program, by: float) -> Program:
    """Branches so large that the norms behind them take little notice of how large."""
    copy = begin(program)
    for name, value in program.tensors().items():
        if ".out." in name or ".mlp.2." in name:
            set_tensor(copy, name, value.detach() * by)
    return finish(copy)


def test_gates_are_not_left_between_zero_and_one_where_scales_do_not_matter() -> None:
    """All of them at a half cost nothing there, and told nothing of which could go."""
    program = weakened(scaled(transformer(4), 8.0), "layers.1.attention.", "layers.3.mlp.")
    given = context(program)
    found, _ = candidates_of(program, "any")
    judge = Judge(program, given.calibration)
    lost = [judge.damage(finish(without(program, [each]))) for each in found]
    halved = judge.damage(finish(gated(program, found, 0.0)))
    assert halved < 0.1 * sum(lost) / len(lost)
    gates = dict(zip([each.site for each in found], learned_gates(program, found, 2, 50, judge, given), strict=True))
    assert sorted(gates, key=gates.__getitem__)[:2] == ["layers.1.mixer", "layers.3.mlp"]


def test_every_sample_sees_other_gates_and_the_same_in_each_run() -> None:
    program = transformer(3)
    found, _ = candidates_of(program, "any")
    open_ = gated(program, found, 0.0)
    chance, [judged] = Chance(len(found), 5), Chance(len(found), 5).judged()
    noise = chance.at(7)[NOISE]
    assert torch.equal(noise, Chance(len(found), 5).at(7)[NOISE])
    assert not torch.equal(noise, chance.at(8)[NOISE])
    assert torch.equal(judged[NOISE], Chance(len(found), 5).judged()[0][NOISE])
    drawn = begin(open_)
    set_tensor(drawn, NOISE, noise)
    row = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1)
    [same], [apart] = open_.run([row]).values(), finish(drawn).run([row]).values()
    torch.testing.assert_close(same[0], same[1])
    assert float((apart[0] - apart[1]).abs().max()) > 0.01


def test_the_penalty_is_least_where_the_expected_cost_is_met() -> None:
    pressure = Pressure((1.0, 3.0), 0.25, 0.5)

    def at(*log_alpha: float) -> float:
        return float(pressure({LOG_ALPHA: torch.tensor(log_alpha)}, 0.5))

    assert at(-20.0, 20.0) == pytest.approx(0.0, abs=1e-6)
    assert at(20.0, 20.0) == pytest.approx(0.5, abs=1e-4)
    assert at(20.0, -20.0) == pytest.approx(0.5 * 4, abs=1e-4)


def test_savings_are_milliseconds_or_parameters() -> None:
    program = transformer(3)
    found, _ = candidates_of(program, "any")
    times = savings(program, found, context(program))
    assert all(time > 0 for time in times)
    counts = savings(program, found, Context(load_target("host")))
    assert counts[0] == 8 * 24 + 24 + 8 * 8 + 8 + 16
