"""Gates that change nothing at first, and end at 0 for what the outputs do not miss."""

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
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.dropping.gates import Pressure, gated, learned_gates, savings
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
    student, names = gated(program, found)
    [before], [after] = program.run().values(), student.run().values()
    torch.testing.assert_close(after, before)
    closed = begin(student)
    set_tensor(closed, names[2], torch.zeros(()))
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
    student, _ = gated(program, candidates_of(program, "block")[0])
    [before], [after] = program.run().values(), student.run().values()
    torch.testing.assert_close(after, before)


def test_the_gates_of_what_is_not_missed_close() -> None:
    program = weakened(transformer(4), "layers.1.", "layers.2.")
    given = context(program)
    found, _ = candidates_of(program, "block")
    gates = learned_gates(program, found, 0.5, 100, Judge(program, given.calibration), given)
    assert max(gates[1], gates[2]) < 0.3
    assert min(gates[0], gates[3]) > 0.7
    result = Drop(0.5, by="gates").run(program, given)
    assert set(result.settings) == {"layers.1", "layers.2"}
    assert result.notes[0].startswith("the gates learned: layers.0 ")


def test_the_penalty_is_least_where_gates_are_whole_and_the_cost_is_met() -> None:
    pressure = Pressure(("a", "b"), (1.0, 1.0), 0.5, 1.0)

    def at(a: float, b: float, fraction: float = 1.0) -> float:
        return float(pressure({"a": torch.tensor(a), "b": torch.tensor(b)}, fraction))

    assert at(1.0, 0.0) == 0.0
    assert at(0.5, 0.5, 0.0) == 0.0
    assert at(0.5, 0.5) == 1.0
    assert at(1.0, 1.0) == 10.0


def test_savings_are_milliseconds_or_parameters() -> None:
    program = transformer(3)
    found, _ = candidates_of(program, "any")
    times = savings(program, found, context(program))
    assert all(time > 0 for time in times)
    counts = savings(program, found, Context(load_target("host")))
    assert counts[0] == 8 * 24 + 24 + 8 * 8 + 8 + 16
