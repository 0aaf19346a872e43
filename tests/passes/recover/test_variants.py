"""Several networks in one: another learns in every step, and what decides is their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from recovery import digits_batches, digits_program
from torch import Tensor

from compressor.graph import edit
from compressor.graph.program import Program
from compressor.passes.recover import Settings, recover

aten = torch.ops.aten


@dataclass(frozen=True)
class Sizes:
    """The result times one of some sizes."""

    name: str
    sizes: tuple[float, ...]

    def at(self, step: int) -> Mapping[str, Tensor]:
        return {self.name: torch.tensor(self.sizes[step % len(self.sizes)])}

    def judged(self) -> Sequence[Mapping[str, Tensor]]:
        return [{self.name: torch.tensor(size)} for size in self.sizes]


def scaled(program: Program) -> tuple[Program, str]:
    """With the result times a stored number."""
    copy = edit.begin(program)
    [result] = copy.graph.output_node().args[0]
    size = edit.add_tensor(copy, "size", torch.ones(()), copy.graph.output_node(), buffer=True)
    product = edit.insert(copy, aten.mul.Tensor, (result, size), like=result, before=copy.graph.output_node())
    copy.graph.output_node().replace_input_with(result, product)
    return edit.finish(copy), str(size.target)


def test_what_is_judged_is_the_mean_and_each_step_has_its_own() -> None:
    teacher, batches = digits_program(), digits_batches()[:4]
    student, name = scaled(teacher)

    def before(*sizes: float) -> float:
        settings = Settings(variants=Sizes(name, sizes))
        return recover(student, teacher, batches, "1steps", losses="mse", settings=settings).before

    assert before(1.0) == pytest.approx(0.0, abs=1e-9)
    assert before(1.0, 0.5) == pytest.approx(before(0.5) / 2)
    done = recover(student, teacher, batches, "20steps", losses="mse", settings=Settings(variants=Sizes(name, (0.5,))))
    assert done.after < 0.9 * done.before
