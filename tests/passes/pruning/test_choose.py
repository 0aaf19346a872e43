"""Choosing: what the user keeps stays, and cuts that save no time are not made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from boards import board
from exactness import analysed
from recovery import digits_batches, digits_program
from torch import nn

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.graph.cost import Estimate, Roofline
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.program import Program
from compressor.passes.pruning.allocate import Allocation
from compressor.passes.pruning.choose import Chooser, settings_of
from compressor.targets.target import Target

CHOOSER = Chooser("magnitude", "uniform", 0, 0.1, ())


class Flat(Roofline):
    """A board on which one layer costs the same at any width."""

    def predict(self, program: Program, target: Target, **changes: Any) -> Estimate:
        found = super().predict(program, target, **changes)
        full = super().predict(program, target)
        pairs = zip(found.kernels, full.kernels, strict=True)
        kernels = [a if "pointwise" in a.layer or "second" in a.layer else b for a, b in pairs]
        return replace(found, latency_ms=sum(kernel.latency_ms for kernel in kernels))


def test_a_multiple_that_no_width_holds_twice_is_refused() -> None:
    dimensions = analyse(digits_program())
    with pytest.raises(RecipeError, match="multiple is 1000, and no width holds that twice"):
        replace(CHOOSER, multiple=1000).check(dimensions)
    replace(CHOOSER, multiple=8).check(dimensions)


def test_widths_are_the_targets_multiples() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(width_multiple=8))
    ranked = CHOOSER.ranked(dimensions, [], context)
    allocation, _ = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    for one, rung in zip(allocation.ladders, allocation.rungs, strict=True):
        assert rung == 0 or (len(one.order) - one.rungs[rung]) % 8 == 0


def test_kept_dimensions_have_no_ladder() -> None:
    dimensions = analyse(digits_program())
    chooser = replace(CHOOSER, keep=("stem.*",))
    ranked = chooser.ranked(dimensions, digits_batches(), Context(board()))
    assert ranked.kept == (dimensions.dimensions[0].name,)
    assert all(one.dimension.name not in ranked.kept for one in ranked.ladders)


def test_a_cut_that_saves_no_time_is_not_made() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(), latency=Flat())
    ranked = CHOOSER.ranked(dimensions, [], context)
    allocation, skipped = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    assert [skip.reason for skip in skipped] == ["cutting it saves no time on board"] * len(skipped)
    assert {skip.site for skip in skipped} == {"first.inner.0"}
    assert "first.inner.0" not in settings_of(allocation)
    left = allocation.removal().macs() / Removal(dimensions, ()).macs()
    assert 0.4 < left <= 0.5, "what is left alone there goes elsewhere"


def test_on_a_target_for_size_time_does_not_decide() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(objective="size"), latency=Flat())
    ranked = CHOOSER.ranked(dimensions, [], context)
    _, skipped = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    assert skipped == []


def test_the_cost_of_a_cut_is_time_where_time_decides() -> None:
    dimensions = analyse(digits_program())
    removal, context = Removal(dimensions, dimensions.dimensions[0].units[:8]), Context(board(), latency=Roofline())
    assert CHOOSER.cost(removal, context) == removal.macs()
    milliseconds = Roofline().predict(removal.dimensions.program, board(), values=removal.values()).latency_ms
    assert replace(CHOOSER, where="latency").cost(removal, context) == milliseconds
    assert replace(CHOOSER, where="latency").cost(removal, Context(board())) == removal.macs()


def test_given_scores_order_the_units() -> None:
    dimensions = analyse(digits_program())
    units = [unit for dimension in dimensions.dimensions for unit in dimension.units]
    ranked = CHOOSER.laddered(dimensions, {unit: float(-unit) for unit in units}, Context(board()))
    assert all(list(one.order) == sorted(one.order, reverse=True) for one in ranked.ladders)


class Diagonal(nn.Module):
    """What is read is the diagonal of an outer product: row i is there while unit i of both factors is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)
        with torch.no_grad():  # so that the one loses its first half, the other its second
            self.a.weight[:4], self.a.bias[:4] = 0.0, 0.0
            self.b.weight[4:], self.b.bias[4:] = 0.0, 0.0
            self.out.weight.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outer = self.a(x)[:, :, None] * self.b(x)[:, None, :]
        return self.out(outer.flatten(1)[:, ::9])


def test_dimensions_that_share_an_axis_do_not_empty_it() -> None:
    dimensions = analysed(Diagonal(), (torch.randn(2, 4),))
    context, chooser = Context(board()), replace(CHOOSER, multiple=1)
    ranked = chooser.ranked(dimensions, [], context)
    halves = Allocation(dimensions, ranked.ladders, tuple(one.nearest(0.5) for one in ranked.ladders))
    assert len(halves.rungs) == 2
    assert halves.removal().empties()
    allocation, _ = chooser.allocation(ranked, halves.removal().macs(), context)
    assert any(allocation.rungs)
    assert not allocation.removal().empties()
    cut(allocation.removal())
