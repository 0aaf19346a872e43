"""A child computes what its program does with the student's weights, and what it learns is in theirs."""

from __future__ import annotations

import torch
from elastic_nets import digits_entries
from recovery import digits_batches, vit

from compressor.graph.entries import Entry
from compressor.graph.kv_cache import PRESENT
from compressor.passes.recover.child import Child
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.trainee import Trainee


def test_gradients_of_a_child_are_those_of_the_rows_that_it_has() -> None:
    program, (half, _) = digits_entries()
    student = Trainee(program, choose_place("cpu"))
    child, batch = Child(half, student), digits_batches()[0]
    [scores] = child.run(batch)
    scores.square().sum().backward()
    for name, rows in half.rows.items():
        parameter = student.shared[name]
        assert parameter.grad is not None, name
        inside = torch.zeros(parameter.shape, dtype=torch.bool)
        places = [
            torch.arange(n) if kept is None else torch.tensor(kept) for kept, n in zip(rows, inside.shape, strict=True)
        ]
        inside[torch.meshgrid(*places, indexing="ij")] = True
        assert not parameter.grad[~inside].any(), name
        assert parameter.grad[inside].any(), name


def test_statistics_are_the_batch_s_and_nothing_stored_is_written() -> None:
    program, (half, _) = digits_entries()
    before = {name: value.clone() for name, value in half.program.tensors().items()}
    child = Child(half, Trainee(program, choose_place("cpu")))
    assert child.normalizes
    one, two = digits_batches()[:2]
    alone = child.run(one)[0]
    child.run(two)
    torch.testing.assert_close(child.run(one)[0], alone)
    assert all(torch.equal(value, half.program.get(name)) for name, value in before.items())


def test_an_output_that_it_has_not_is_empty() -> None:
    program = vit(1)
    from dataclasses import replace

    cache = replace(program.outputs[0], name=f"{PRESENT}.0.key")
    student = Trainee(replace(program, outputs=(*program.outputs, cache)), choose_place("cpu"))
    rows = {name: (None,) * value.dim() for name, value in program.tensors().items()}
    found = Child(Entry(program, rows), student).run({program.inputs[0].name: program.example[0]})
    assert [value.numel() for value in found] == [2 * 6 * 7, 0]
