"""The first samples of batches, and what every node computes on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.stepping import Stepper
from compressor.passes.reading.samples import is_divisible, limited, visit


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.abs() + 1)


def test_visitors_see_arguments_and_values() -> None:
    program = capture(Log(), (torch.ones(2, 3),)).program
    seen: dict[str, object] = {}
    nodes = set(program.graph.nodes)
    visit(program, [{"x": torch.ones(4, 3)}], lambda node, args, value: seen.update({node.name: (args, value)}), nodes)
    (source,), result = seen["log"]  # type: ignore[misc]
    assert torch.equal(result, torch.log(source))
    assert source.shape == (4, 3)


def test_nothing_after_the_last_watched_node_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    program = capture(Log(), (torch.ones(2, 3),)).program
    ran, seen, step = list[str](), list[str](), Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self: (node := step(self), ran.append(node.name))[0])
    watched = [node for node in program.graph.nodes if node.name == "abs_1"]
    visit(program, [{"x": torch.ones(4, 3)}] * 2, lambda node, args, value: seen.append(node.name), watched)
    assert seen == ["abs_1"] * 2
    assert ran == ["x", "abs_1"] * 2
    visit(program, [{"x": torch.ones(4, 3)}], lambda *given: seen.append("none"), ())
    assert seen == ["abs_1"] * 2


class Sum(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a.sum(1) + b.sum()


def test_limited_cuts_the_last_batch() -> None:
    program = capture(Sum(), (torch.zeros(4, 2), torch.zeros(4))).program
    batches = [{"a": torch.zeros(4, 2), "b": torch.zeros(4)} for _ in range(3)]
    assert [len(batch["a"]) for batch in limited(program, batches, 6)] == [4, 2]
    assert [len(batch["b"]) for batch in limited(program, batches, 99)] == [4, 4, 4]
    assert limited(program, batches, 0) == []


@pytest.mark.parametrize("shapes", [(("batch", 2), ("other",)), ((4, "batch"), (4,))])
def test_batches_without_a_common_first_dimension_that_may_change_stay_whole(shapes: tuple[Any, ...]) -> None:
    program = capture(Sum(), (torch.zeros(4, 2), torch.zeros(4))).program
    specs = tuple(replace(spec, shape=shape) for spec, shape in zip(program.inputs, shapes, strict=True))
    batches = [{"a": torch.zeros(4, 2), "b": torch.zeros(4)} for _ in range(3)]
    whole = replace(program, inputs=specs)
    assert is_divisible(program)
    assert not is_divisible(whole)
    assert [len(batch["b"]) for batch in limited(whole, batches, 2)] == [4, 4]
