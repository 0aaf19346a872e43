"""Calibration watches the values of interest, batch by batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.passes.quantizing.calibrate import limited, observe, visit
from compressor.quant.calibrators import MinMax


class Log(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.scale(x))


def doubled() -> nn.Module:
    model = Log()
    model.scale.weight = nn.Parameter(2 * torch.eye(3))
    nn.init.zeros_(model.scale.bias)
    return model


def test_calibrators_see_every_batch() -> None:
    program = capture(doubled(), (torch.ones(2, 3),)).program
    linear = next(node for node in program.nodes() if "linear" in node.name)
    watcher = MinMax()
    observe(program, [{"x": torch.full((2, 3), value)} for value in (1.0, 5.0, 3.0)], {linear: watcher})
    assert watcher.range() == (0.0, 10.0)


def test_values_that_are_not_finite_name_the_layer() -> None:
    program = capture(doubled(), (torch.ones(2, 3),)).program
    linear = next(node for node in program.nodes() if "linear" in node.name)
    with pytest.raises(InputError, match="NaN or infinite") as caught:
        observe(program, [{"x": torch.full((2, 3), float("nan"))}], {linear: MinMax()})
    assert caught.value.where == "scale"


def test_visitors_see_arguments_and_values() -> None:
    program = capture(doubled(), (torch.ones(2, 3),)).program
    seen: dict[str, object] = {}
    visit(program, [{"x": torch.ones(4, 3)}], lambda node, args, value: seen.update({node.name: (args, value)}))
    (source,), result = seen["log"]  # type: ignore[misc]
    assert torch.equal(result, torch.log(source))
    assert source.shape == (4, 3)


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
    assert [len(batch["b"]) for batch in limited(replace(program, inputs=specs), batches, 2)] == [4, 4]
